// Chapter 6, below: one token on its way through one layer, step by step; and who wrote the logit.
vit.block = (data, frame, given) => {
  const { h, number, term, who } = vit, { layers } = data;
  const opened = (block) => ({ ...block, strips: block.strips.map((strip) => ({ ...strip, values: vit.unpack(strip.values) })) });
  const kept = vit.kept(frame, "block", data.block, opened, () => draw()), { layer: first, strips: begun } = kept.here;
  const size = (v) => number(v, v && v < 0.095 ? 4 : 2);
  let fromCls = true, drawn = null;

  const asker = vit.choice("whose way through the layer", ["CLS", "the chosen patch"], 0, (i) => { fromCls = i === 0; draw(); });
  const slider = layers > 1 ? vit.slider("layer", { min: 1, max: layers, value: first, show: (v) => `${v} of ${layers}` }, given.go) : null;
  const title = h("h3", {}), says = h("p", { "aria-live": "polite" });
  const most = Math.max(...begun.map(({ values }) => values.length)), fits = (values) => (values.length < most ? 192 : 768);
  const rows = begun.map(({ kind, name, values }) => {
    const strip = vit.strip(values, { kind, cells: Math.min(values.length, fits(values)) }), sizes = h("span", { class: "mono" });
    strip.style.width = `${Math.max(50, (100 * values.length) / most)}%`;
    return { strip, sizes, node: h("div", { class: `step ${kind}` }, h("span", {}, name), strip, sizes) };
  });

  function draw() {
    const at = Math.max(1, given.layer());
    slider?.put(at);
    kept.want({ layer: at, token: fromCls ? 0 : vit.state.patch + 1 }); // of a patch when it is chosen, not when it is pointed at
    if (drawn === kept.here) return;
    drawn = kept.here;
    const { layer, token, strips } = drawn, place = `${who(token)} in layer ${layer}`;
    title.textContent = `Inside one layer: ${place}`;
    says.textContent = drawn.says;
    rows.forEach(({ strip, sizes }, i) => {
      const { name, values, length } = strips[i], peak = vit.peak(values);
      strip.classList.toggle("cls", token === 0);
      strip.paint(values, peak);
      strip.setAttribute("aria-label", `${place}, ${name}: ${values.length} numbers, the largest ±${size(peak)}, length ${size(length)}`);
      sizes.textContent = `±${size(peak)} · length ${size(length)}`;
    });
    const [entering, , attention, between, , , mlp, leaving] = strips.map(({ values }) => values[0]);
    frame.say({ inside: place, between: `${number(entering, 3)} + ${term(attention, 3)} = ${number(between, 3)}`, leaving: `${number(between, 3)} + ${term(mlp, 3)} = ${number(leaving, 3)}` });
    frame.recode(1, `layer, token = ${layer}, ${token}  # the first layer is 1; token 0 is CLS`,
      `The length of what attention adds to ${who(token)} in layer ${layer}: ${number(strips[2].length)}.`);
  }

  const node = h("div", { class: "below inside" }, title, h("div", { class: "tools" }, asker, slider),
    h("div", { class: "steps", role: "group", "aria-label": "the steps through the layer, first to last" }, ...rows.map((row) => row.node)), says,
    h("p", { class: "quiet" }, `Down the line runs what the token has. Beside it, attention and the MLP each read a copy that LayerNorm has made even (mean 0 and spread 1, then a learned factor and shift for each number), and what they make of it is added; nothing is overwritten (Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 2 and 3; after Vaswani et al. 2017, arXiv:1706.03762). The line is called the residual stream (Elhage et al. 2021). What the heads of the chapter before have gathered lies side by side and goes through one more matrix (o_proj), which mixes them. The MLP (multi-layer perceptron) is two more matrices with a bend between them, ${data.block.activation}; it works on each token alone. Each strip has its full colour at its own ±; the length of a vector is the root of the sum of its squares.`,
      begun.some(({ values }) => values.length > fits(values)) ? " Where there are more numbers than cells, some of them are drawn, evenly spaced." : ""));
  node.draw = draw;
  return node;
};

/** The logit of the answer, taken apart into what each layer's attention and MLP wrote. */
vit.written = ({ written, label }) => {
  const { h, number } = vit, { embedding, attention, MLP, bias, logit } = written;
  const peak = vit.peak([embedding, ...attention, ...MLP, bias]) || 1;
  const part = (v) => [h("td", {}, vit.both(v, peak)), h("td", { class: "mono" }, number(v))];
  const row = (name, ...parts) => h("tr", {}, h("th", { scope: "row" }, name), ...parts);
  return h("div", { class: "below" }, h("h3", {}, `Who wrote the logit of ${vit.named(label)}?`), h("p", { class: "quiet" }, written.says),
    h("div", { class: "scroll" }, h("table", { class: "logits written" },
      h("thead", {}, h("tr", {}, h("td"), ...["attention", "MLP"].map((name) => h("th", { scope: "colgroup", colspan: 2 }, name)))),
      h("tbody", {}, row("embedding", ...part(embedding)), ...attention.map((v, i) => row(`layer ${i + 1}`, ...part(v), ...part(MLP[i]))), row("biases", ...part(bias)),
        row("all together", h("td"), h("td", { class: "mono" }, h("b", {}, number(logit))))))),
    h("p", { class: "quiet" }, "Blue spoke for the class, vermilion against it. Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; the logit lens above reads the sum so far (nostalgebraist 2020)."));
};
