// Chapter 5, below: the whole matrix of a head, how far heads look, and attention rolled out through the layers.
vit.attentionMore = (data, frame, given) => {
  const { h, percent, number, who } = vit, { row } = given;
  const { rows, cols, layers, heads } = data, tokens = rows * cols + 1;
  const stage = h("div", { class: "stage" });
  let draw = null;
  const parts = [["the whole matrix", matrix], ["queries and keys", plane], ["how far they look", distance], ["through all layers", rollout]];
  const open = (index) => { draw = null; stage.replaceChildren(parts[index][1]()); draw?.(); };
  const node = h("div", { class: "below" }, h("div", { class: "tools" }, vit.choice("more about attention", parts.map(([name]) => name), 0, open)), stage);
  open(0);
  node.draw = () => draw?.();
  return node;

  function matrix() {
    const canvas = h("canvas", { class: "matrix crisp", width: tokens, height: tokens, tabindex: 0, role: "application", "aria-roledescription": "attention matrix",
      "aria-label": "attention of every token (row) to every token (column): arrow keys walk and work out the pair below" });
    const caption = h("p", { class: "caption mono", "aria-live": "polite" }), box = h("div", { class: "matrix-box" }, canvas, h("i", {}));
    const scale = vit.scale("weight, or more");
    let shown = null, table = null;
    const paint = vit.repainted(canvas, (table, peak) => {
      const pen = canvas.getContext("2d"), image = pen.createImageData(tokens, tokens);
      const hue = vit.rgb("strength"), ground = vit.rgb("cell");
      table.forEach((values, i) => values.forEach((v, j) => {
        const share = Math.min(1, v / peak);
        image.data.set([...hue.map((c, k) => ground[k] + (c - ground[k]) * share), 255], 4 * (i * tokens + j));
      }));
      pen.putImageData(image, 0, 0);
    });
    draw = () => {
      const { layer, head } = vit.state, key = `${layer},${head}`;
      if (key !== shown) {
        const found = Array.from({ length: tokens }, (_, token) => row(layer, head, token));
        table = found.every(Boolean) ? found : null;
        if (!table) { shown = null; caption.textContent = "waiting for this layer …"; return; }
        shown = key;
        const sorted = new Float32Array(tokens * tokens);
        table.forEach((values, i) => sorted.set(values, i * tokens));
        const peak = sorted.sort()[Math.floor(tokens * tokens * 0.995)] || 1;
        paint(table, peak);
        scale.top(percent(peak));
        caption.textContent = `layer ${layer + 1}, head ${head + 1}: ${tokens} × ${tokens} weights`;
      }
      const line = box.querySelector("i"), token = given.looks();
      line.style.top = `${(100 * token) / tokens}%`;
      line.style.height = `${100 / tokens}%`;
    };
    const tell = (i, j) => { caption.textContent = `${who(i)} gives ${percent(table[i][j])} to ${who(j)}`; };
    const at = (event) => {
      const area = canvas.getBoundingClientRect();
      const [j, i] = [Math.floor(((event.clientX - area.left) / area.width) * tokens), Math.floor(((event.clientY - area.top) / area.height) * tokens)];
      return table?.[i] && j >= 0 && j < tokens ? [i, j] : null;
    };
    canvas.addEventListener("pointermove", (event) => {
      const cell = at(event);
      if (!cell) return;
      if (cell[0] > 0 && vit.state.hover !== cell[0] - 1) vit.set({ hover: cell[0] - 1 });
      tell(...cell);
    });
    canvas.addEventListener("click", (event) => { const cell = at(event); if (cell) given.pair(...cell); });
    canvas.addEventListener("keydown", (event) => {
      const step = vit.arrow(event);
      if (!step || !table) return;
      const cell = given.paired().map((token, k) => (token + step[k] + tokens) % tokens);
      given.pair(...cell);
      tell(...cell);
    });
    canvas.addEventListener("pointerleave", () => vit.set({ hover: null }));
    return h("div", { class: "row" }, h("figure", {}, box, scale, caption),
      h("p", { class: "quiet" }, "Rows are the tokens that look, columns those that are looked at; CLS comes first. The orange row is the token that looks. A diagonal means: looks at itself; a column: all look there. Each row sums to 1. Point at a cell to read it; click, or walk with the arrow keys, to work that pair out in the equation below."));
  }

  function plane() {
    const shown = vit.plane(data, given);
    draw = shown.draw;
    return shown.node;
  }

  function distance() {
    const { distances, uniform } = data;
    const holder = h("div", { class: "plot" });
    let shown = null;
    draw = () => {
      const { layer, head } = vit.state, key = `${layer},${head}`;
      if (key === shown) return;
      shown = key;
      holder.replaceChildren(vit.lines({ x: [...Array(layers).keys()].map((l) => l + 1), top: vit.nice(Math.max(uniform, ...distances.flat()) || 1), level: { at: uniform, name: `everywhere alike: ${number(uniform, 1)}` }, unit: "layer (up: mean distance in pixels)", format: vit.tick, mark: layer + 1, height: 150,
        series: [...Array(heads).keys()].map((i) => ({ name: i === head ? `head ${i + 1}` : "", tone: i === head ? "strength" : "other", points: distances.map((l, layer) => ({ share: layer + 1, mean: l[i] })).filter(({ mean }) => mean !== null) })) }));
    };
    return h("figure", {}, h("p", { class: "quiet" }, "How far away the patches are that a patch looks at, weighted by attention (Dosovitskiy et al. 2021, Fig. 7 right, as the mean of many pictures; here it is this one alone). A head far below the dashed line looks near itself, as the small filters of older networks must.", distances.flat().includes(null) ? " A head that gives all its weight to the class token looks at no patch and has no point." : ""), holder);
  }

  function rollout() {
    const asked = { what: "rollout", fusion: "mean", discard: 0 };
    const view = vit.picture({ src: data.src, rows, cols, alt: "Attention rolled out from CLS to the patches" }), scale = vit.scale("share of CLS");
    const note = h("p", { class: "quiet", "aria-live": "polite" });
    const ask = () => frame.ask(asked, (reply) => {
      const values = vit.unpack(reply.values), max = vit.peak(values);
      view.veil(values, max);
      scale.top(percent(max));
      note.textContent = `The patches together hold ${percent(reply.patches)}, CLS keeps ${percent(1 - reply.patches)} for itself; together that is 1.`;
    });
    ask();
    return h("div", { class: "row" }, h("figure", {}, view.node, scale),
      h("div", {}, h("p", { class: "quiet" }, "Attention flows through layers: multiply them all, each mixed with the residual path, which lets a token keep what it has (Abnar & Zuidema 2020, arXiv:2005.00928). First the heads are fused; then the weakest weights may be discarded (both after vit-explain, Gildenblat 2020)."),
        h("div", { class: "tools", style: "padding-top:12px" }, vit.choice("fuse heads by", ["mean", "max", "min"], 0, (i) => { asked.fusion = ["mean", "max", "min"][i]; ask(); })),
        vit.slider("discard weakest", { min: 0, max: 95, step: 5, value: 0, show: (v) => `${v} %` }, (v) => { asked.discard = v / 100; ask(); }), note));
  }
};
