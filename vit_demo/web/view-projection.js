// Chapter 3: patch x filter, number on number; the strip of all answers; the filters' principal components.
vit.views.projection = (card, data, frame) => {
  const { h, number, term } = vit;
  const { patch: P, shown, dimensions: width } = data;
  const bytes = vit.unpack(data.bytes), weight = vit.unpack(data.weight), bias = vit.unpack(data.bias), tokens = vit.unpack(data.tokens);
  const size = 3 * P * P;
  let filter = data.filter;

  const view = vit.picture({ src: data.src, rows: data.rows, cols: data.cols, alt: "The picture" });
  const parts = h("div", { class: "product" });
  const strip = vit.strip(tokens.subarray(0, width), { label: "the patch as a token: one cell a filter" });
  const marker = h("i", { class: "marker" });
  const slider = vit.slider("filter", { min: 0, max: shown - 1, value: filter, show: (i) => `${i} of 0…${width - 1}` }, (i) => { filter = i; draw(); });
  const full = vit.full(tokens);

  function draw() {
    const p = vit.active(), { row, column } = vit.where(p);
    const x = new Float32Array(size), w = weight.subarray(filter * size, (filter + 1) * size);
    for (let c = 0; c < 3; c++) for (let i = 0; i < P * P; i++) {
      const at = (c * data.height + row * P + Math.floor(i / P)) * data.width + column * P + (i % P);
      x[c * P * P + i] = (bytes[at] * data.scale - data.mean[c]) / data.std[c];
    }
    const product = w.map((v, i) => v * x[i]);
    const sum = product.reduce((a, b) => a + b, 0), value = sum + bias[filter];
    const tile = (values, name, peak = vit.peak(values)) => h("figure", {}, vit.bitmap(vit.signed(values, peak), P, P, name), h("figcaption", {}, name, h("br"), h("span", { class: "mono" }, `±${number(peak)}`)));
    parts.replaceChildren(tile(x, "patch x"), h("b", {}, "·"), tile(w, `filter w`), h("b", {}, "="), tile(product, "w·x"), h("b", {}, "→"),
      h("p", { class: "sum mono" }, `sum ${number(sum, 3)}`, h("br"), `bias ${number(bias[filter], 3)}`, h("br"), h("strong", {}, number(value, 3))));
    strip.paint(tokens.subarray(p * width, (p + 1) * width), full);
    marker.style.left = `calc(4px + (100% - 4px) * ${(filter + 0.5) / width})`;
    const terms = [0, 1, 2].map((i) => `${term(w[i])}·${term(x[i])}`).join(" + ");
    frame.recode(0, `row, column, size, filter = ${row}, ${column}, ${P}, ${filter}`, `What patch ${p} answers to filter ${filter}: ${number(value, 3)}, as Wx + b.`);
    frame.recode(1, `row, column, filter = ${row}, ${column}, ${filter}`, `The same number, ${number(value, 3)}, as one of all those that a convolution gives.`);
    frame.say({ patch: p, filter, value: number(value, 3), index: `[${filter}]`, terms: `${terms} + … (${size} terms)`, bias: term(bias[filter], 3), result: number(value, 3) });
  }

  const colours = vit.unpack(data.components);
  const gallery = h("div", { class: "filters" }, ...data.explained.map((share, i) => h("figure", {},
    vit.bitmap(colours.subarray(i * size, (i + 1) * size), P, P, `component ${i + 1}, ${share}`), h("figcaption", { class: "mono" }, share))));
  card.append(h("div", { class: "row" }, h("figure", {}, view.node),
    h("div", {}, slider, parts, h("h3", { class: "later" }, `the token: ${width} answers`), h("div", { class: "marked" }, strip, marker),
      h("p", { class: "quiet" }, `blue above 0, vermilion below, full colour from ±${number(full)} on; in the small pictures mid-grey is 0 and the strongest number is under them`))),
    h("div", { class: "below" }, h("h3", {}, "What the filters look for: their principal components, with the share of variance each explains (Dosovitskiy et al. 2021, Fig. 7 left)"), gallery,
      h("figcaption", {}, "the patterns in which the filters differ most from each other, and how much of all their differences (the variance) lies along each; each drawn at its own full strength; mid-grey is 0")));
  vit.follow(card, draw);
};
