// Chapter 8: four experiments, one card. This file: the switch between them, the erase game, the nearest pictures.
vit.views.experiments = (card, data, frame) => {
  const { h } = vit;
  const stage = h("div", { class: "stage" });
  const games = [["erase game", vit.games.erase], ["head switches", vit.games.heads], ["heat-map duel", vit.games.duel], ["nearest pictures", vit.games.nearest]];
  const open = (index) => { frame.stop(); stage.replaceChildren(); games[index][1](stage, data, frame); vit.state.game = index; };
  const start = vit.state.game ?? 0;
  card.append(h("div", { class: "tools" }, vit.choice("experiment", games.map(([name]) => name), start, open)), stage);
  open(start);
};

vit.games = {
  erase(stage, data, frame) {
    const { h, percent } = vit;
    const count = data.rows * data.cols;
    let kept = new Set(Array(count).keys()), fewest = null, revealed = false; // once revealed, no score until a new start
    const view = vit.picture({ src: data.src, rows: data.rows, cols: data.cols, alt: "Click a patch to take it away", pick: (patch) => {
      if (kept.has(patch)) kept.delete(patch); else kept.add(patch);
      turn();
    } });
    const restart = (patches) => { kept = new Set(patches); revealed = false; view.ring([]); note.textContent = ""; turn(); };
    const out = h("div", { class: "result", "aria-live": "polite" }), note = h("p", { class: "quiet" }), bar = vit.bar(1);
    const show = () => view.veil(Array.from({ length: count }, (_, i) => (kept.has(i) ? 1 : -0.15)), 1);
    const ask = (what) => { const asked = [...kept]; frame.ask({ what, kept: asked }, (reply) => hear(reply, asked)); };
    function turn() { show(); ask("erase"); }
    /** asked: the patches that were kept when it was asked, whatever was clicked since. */
    function hear(reply, asked) {
      if (reply.what === "erase") {
        const won = asked.length > 0 && reply.top[0][0] === data.label && reply.p >= data.goal;
        if (!revealed && won && (fewest === null || asked.length < fewest)) fewest = asked.length;
        out.replaceChildren(h("p", {}, h("b", {}, `${vit.named(reply.top[0][0])}, ${percent(reply.top[0][1])}`), ` with ${asked.length} of ${count} patches; ${vit.named(data.label)} has ${percent(reply.p)}.`),
          h("p", { class: "quiet" }, fewest === null ? "No score yet." : `Your fewest that still count: ${fewest}.`, revealed ? " A new start counts again." : won ? "" : " These do not count."));
      } else {
        bar.at(reply.progress);
        if (!reply.values) return;
        const marked = asked.length;
        note.textContent = `${marked ? `The map's best ${marked} patches and yours: ${percent(reply.overlap)} in common (intersection over union); by chance it would be ${percent(reply.by_chance)}. ` : ""}By its order, ${reply.needed} ${reply.needed === 1 ? "patch is" : "patches are"} enough: they are shown now${marked < count ? ", yours are framed" : ""}.`;
        if (!revealed) view.ring(marked < count ? asked : []);
        kept = new Set(reply.order);
        revealed = true;
        turn();
      }
    }
    const button = (text, act) => h("button", { type: "button", class: "do", onclick: act }, text);
    stage.append(h("div", { class: "row" }, h("figure", {}, view.node, bar),
      h("div", {}, h("p", {}, `Keep as few patches as you can while it still says ${data.label} with ${percent(data.goal)} or more: ${data.between ? `halfway between what it says with none (${percent(data.blank)}) and with all` : `what it says with all; with none it is surer still (${percent(data.blank)})`}. Click, or walk with the arrow keys and press Enter. The tokens are really dropped (Jain et al. 2022, arXiv:2204.08945).`),
        h("div", { class: "tools", style: "padding-top:12px" },
          button("keep all", () => restart(Array(count).keys())), button("keep none", () => restart([])),
          button("every second", () => restart([...Array(count).keys()].filter((i) => i % 2 === 0))),
          button("reveal the map's choice", () => ask("reveal"))), out, note)));
    turn();
  },

  nearest(stage, data, frame) {
    const { h, number } = vit;
    if (!data.bank) {
      stage.append(h("p", { class: "quiet" }, "This model brings no bank of training pictures. Training writes one beside the weights, as extras.safetensors, unless it is told not to."));
      return;
    }
    const out = h("div", { class: "alike" });
    const ask = (layer) => frame.ask({ what: "nearest", layer }, ({ found }) => out.replaceChildren(...found.map(({ src, cosine, label }) =>
      h("figure", {}, h("img", { src, class: "crisp", alt: `a training picture of ${vit.a(label)}` }), h("figcaption", {}, label, h("br"), h("span", { class: "mono" }, number(cosine)))))));
    stage.append(h("p", {}, `Of ${data.bank} training pictures, those whose class token points most nearly the same way (cosine; neighbours in frozen features: Caron et al. 2021, arXiv:2104.14294).`),
      vit.slider("after layer", { min: 1, max: data.layers, value: data.layers, show: (v) => `${v} of ${data.layers}` }, ask), out);
    ask(data.layers);
  },
};
