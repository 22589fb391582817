// Chapter 8: four experiments, one card. This file: the switch between them, the erase game, the nearest pictures.
vit.views.experiments = (card, data, frame) => {
  const { h } = vit;
  const stage = h("div", { class: "stage" });
  const games = [["erase game", vit.games.erase], ["head switches", vit.games.heads], ["heat-map duel", vit.games.duel], ["nearest pictures", vit.games.nearest]];
  const open = (index) => {
    frame.stop();
    stage.replaceChildren();
    games[index][1](stage, data, frame);
    frame.root.querySelectorAll(":scope > .equation, :scope > .try, :scope > .check").forEach((node) => { node.hidden = index > 0; }); // these speak of the erase game
    vit.state.game = index;
  };
  const start = vit.state.game ?? 0;
  card.append(h("div", { class: "tools" }, vit.choice("experiment", games.map(([name]) => name), start, open)), stage);
  open(start);
};

vit.games = {
  erase(stage, data, frame) {
    const { h, percent } = vit;
    const count = data.rows * data.cols;
    let kept = new Set(Array(count).keys()), revealed = false, round = 0; // once revealed, no score until a new start
    data.fewest ??= count; // kept while other games are looked at
    const view = vit.picture({ src: data.src, rows: data.rows, cols: data.cols, alt: "Click a patch to take it away", pick: (patch) => {
      if (kept.has(patch)) kept.delete(patch); else kept.add(patch);
      turn();
    } });
    const restart = (patches) => { kept = new Set(patches); revealed = reveal.disabled = false; view.ring([]); note.textContent = ""; turn(); };
    const out = h("div", { class: "result", "aria-live": "polite" }), note = h("p", { class: "quiet" }), bar = vit.bar(1);
    const show = () => view.veil(Array.from({ length: count }, (_, i) => (kept.has(i) ? 1 : -0.15)), 1);
    const ask = (what) => { const asked = [...kept], then = round; frame.ask({ what, kept: asked }, (reply) => { if (then === round) hear(reply, asked); }); };
    /** Other patches are kept now: what was asked of those before is no longer sent, nor heard. */
    function turn() { round += 1; frame.line.forget(); bar.at(1); show(); ask("erase"); }
    /** asked: the patches that were kept when it was asked. */
    function hear(reply, asked) {
      if (reply.what === "erase") {
        const won = asked.length > 0 && reply.top[0][0] === data.label && reply.p >= data.goal;
        if (!revealed && won && asked.length < data.fewest) data.fewest = asked.length;
        out.replaceChildren(h("p", {}, h("b", {}, `${vit.named(reply.top[0][0])}, ${percent(reply.top[0][1])}`), ` with ${asked.length} of ${count} patches; ${vit.named(data.label)} has ${percent(reply.p)}.`),
          h("p", { class: "quiet" }, `Your fewest that still count: ${data.fewest}.`, revealed ? " A new start counts again." : won ? "" : " These do not count."));
      } else {
        bar.at(reply.progress);
        if (!reply.values) return;
        const marked = asked.length, framed = marked > 0 && marked < count;
        note.textContent = `${marked ? `The map's best ${marked === 1 ? "patch" : `${marked} patches`} and yours: ${percent(reply.overlap)} in common (intersection over union); by chance it would be ${percent(reply.by_chance)}. ` : ""}By its order, ${reply.needed} ${reply.needed === 1 ? "patch is" : "patches are"} enough: they are shown now${framed ? ", yours are framed" : ""}.`;
        view.ring(framed ? asked : []);
        kept = new Set(reply.order);
        revealed = reveal.disabled = true; // again, the map's choice would be compared with itself
        turn();
      }
    }
    const button = (text, act) => h("button", { type: "button", class: "do", onclick: act }, text);
    const reveal = button("reveal the map's choice", () => ask("reveal"));
    stage.append(h("div", { class: "row" }, h("figure", {}, view.node, bar),
      h("div", {}, h("p", {}, `Keep as few patches as you can while it still says ${data.label} with ${percent(data.goal)} or more: ${data.between ? `halfway between what it says with none (${percent(data.blank)}) and with all` : `what it says with all; with none it is surer still (${percent(data.blank)})`}. Click, or walk with the arrow keys and press Enter. The tokens are really dropped (Jain et al. 2022, arXiv:2204.08945).`),
        h("div", { class: "tools", style: "padding-top:12px" },
          button("keep all", () => restart(Array(count).keys())), button("keep none", () => restart([])),
          button("every second", () => restart([...Array(count).keys()].filter((i) => i % 2 === 0))),
          reveal), out, note)));
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
      vit.slider("after layer", { min: 1, max: data.layers, value: data.layers, show: (v) => `${v} of ${data.layers}` }, ask), out,
      h("p", { class: "try" }, h("b", {}, "Try:"), " move the slider from the first layer to the last. When do neighbours stop sharing colours and begin to share a class?"));
    ask(data.layers);
  },
};
