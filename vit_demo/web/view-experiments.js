// Chapter 8: four experiments, one card. This file: the switch between them, the erase game, the nearest pictures.
vit.views.experiments = (card, data, frame) => {
  const { h } = vit;
  const stage = h("div", { class: "stage" });
  const games = [["erase game", vit.games.erase], ["head switches", vit.games.heads], ["heat-map duel", vit.games.duel], ["nearest pictures", vit.games.nearest]];
  const open = (index) => { frame.stop(); stage.replaceChildren(); games[index][1](stage, data, frame); vit.state.game = index; };
  const start = vit.state.game ?? 0;
  card.append(h("div", { class: "tools" }, vit.choice("experiment", games.map(([name]) => name), start, open)), stage);
  games[start][1](stage, data, frame);
};

vit.games = {
  erase(stage, data, frame) {
    const { h, percent } = vit;
    const count = data.rows * data.cols;
    let kept = new Set(Array(count).keys()), fewest = null, mine = true;
    const view = vit.picture({ src: data.src, rows: data.rows, cols: data.cols, alt: "Click a patch to take it away", pick: (patch) => {
      if (kept.has(patch)) kept.delete(patch); else kept.add(patch);
      mine = true;
      turn();
    } });
    const out = h("div", { class: "result", "aria-live": "polite" }), note = h("p", { class: "quiet" }), bar = h("div", { class: "progress" }, h("i"));
    bar.style.visibility = "hidden";
    const show = () => view.veil(Array.from({ length: count }, (_, i) => (kept.has(i) ? 1 : -0.15)), 1);
    function turn() { show(); frame.ask({ what: "erase", kept: [...kept] }, hear); }
    function hear(reply) {
      if (reply.what === "erase") {
        const still = reply.top[0][0] === data.label;
        if (mine && still && (fewest === null || kept.size < fewest)) fewest = kept.size;
        out.replaceChildren(h("p", {}, h("b", {}, `${reply.top[0][0]}, ${percent(reply.top[0][1])}`), ` with ${kept.size} of ${count} patches; ${data.label} has ${percent(reply.p)}.`),
          h("p", { class: "quiet" }, fewest === null ? `It has not said ${data.label} yet.` : `Your fewest that still say ${data.label}: ${fewest}.`));
      } else {
        bar.style.visibility = reply.values ? "hidden" : "visible";
        bar.firstChild.style.width = `${100 * reply.progress}%`;
        if (!reply.values) return;
        const marked = kept.size;
        note.textContent = `The map's own best ${marked} patches and yours: ${percent(reply.overlap)} in common (intersection over union). By its order, ${reply.needed} ${reply.needed === 1 ? "patch is" : "patches are"} enough to say ${data.label}.`;
        kept = new Set(reply.order);
        mine = false;
        turn();
      }
    }
    const button = (text, act) => h("button", { type: "button", class: "do", onclick: act }, text);
    stage.append(h("div", { class: "row" }, h("figure", {}, view.node, bar),
      h("div", {}, h("p", {}, `Keep as few patches as you can while it still says ${data.label}. Click, or walk with the arrow keys and press Enter. The tokens are really dropped (as in Naseer et al. 2021, arXiv:2105.10497).`),
        h("div", { class: "tools", style: "padding-top:12px" },
          button("keep all", () => { kept = new Set(Array(count).keys()); turn(); }), button("keep none", () => { kept = new Set(); turn(); }),
          button("every second", () => { kept = new Set([...Array(count).keys()].filter((i) => i % 2 === 0)); turn(); }),
          button("reveal the map's choice", () => frame.ask({ what: "reveal", kept: [...kept] }, hear))), out, note)));
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
      h("figure", {}, h("img", { src, class: "crisp", alt: `a training picture of a ${label}` }), h("figcaption", {}, label, h("br"), h("span", { class: "mono" }, number(cosine)))))));
    stage.append(h("p", {}, `Of ${data.bank} training pictures, those whose class token points most nearly the same way (cosine; neighbours in frozen features: Caron et al. 2021, arXiv:2104.14294).`),
      vit.slider("after layer", { min: 1, max: data.layers, value: data.layers, show: (v) => `${v} of ${data.layers}` }, ask), out);
    ask(data.layers);
  },
};
