// Chapter 1: the file beside what the model sees; the numbers of the pixel that is pointed at.
vit.views.picture = (card, data, frame) => {
  const { h, number } = vit;
  const bytes = vit.unpack(data.bytes);
  const { height, width } = data;
  let pixel = data.pixel, patch = null;

  const box = h("rect", { class: "chosen", width: 1, height: 1 });
  const seen = h("svg", { class: "picture", viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "application",
    "aria-label": `the picture as the model sees it, ${width} by ${height} pixels; arrow keys walk from pixel to pixel` },
    h("image", { href: data.src, width, height, class: "crisp" }), box);
  const table = h("table", {});
  const swatch = h("i", { class: "swatch" });

  const at = (channel) => bytes[(channel * height + pixel[0]) * width + pixel[1]];
  function show() {
    box.setAttribute("x", pixel[1]); box.setAttribute("y", pixel[0]);
    const rgb = [0, 1, 2].map(at);
    swatch.style.background = `rgb(${rgb.map(Math.round)})`;
    const value = (c) => (rgb[c] * data.scale - data.mean[c]) / data.std[c];
    table.replaceChildren(h("thead", {}, h("tr", {}, ...["", "byte", "rescaled", "normalised"].map((t) => t ? h("th", { scope: "col" }, t) : h("td")))),
      h("tbody", {}, ...["red", "green", "blue"].map((name, c) => h("tr", {}, h("td", {}, name),
        h("td", { class: "mono" }, Math.round(rgb[c])), h("td", { class: "mono" }, number(rgb[c] * data.scale, 3)),
        h("td", { class: "mono" }, number(value(c), 3))))));
    frame.say({ pixel: `row ${pixel[0]}, column ${pixel[1]}`, byte: Math.round(rgb[0]), value: number(value(0), 3) });
    frame.recode(0, `row, column = ${pixel[0]}, ${pixel[1]}`, `The red number of the pixel in row ${pixel[0]}, column ${pixel[1]}, as the model is given it.`);
  }
  const move = (row, column) => { pixel = [(row + height) % height, (column + width) % width]; show(); };
  const pointed = (event) => {
    const area = seen.getBoundingClientRect();
    const column = Math.floor(((event.clientX - area.left) / area.width) * width);
    const row = Math.floor(((event.clientY - area.top) / area.height) * height);
    if (row >= 0 && row < height && column >= 0 && column < width) move(row, column);
  };
  seen.addEventListener("pointermove", pointed);
  seen.addEventListener("click", (event) => { pointed(event); choose(); });
  seen.addEventListener("keydown", (event) => {
    const step = vit.arrow(event);
    if (step) { move(pixel[0] + step[0], pixel[1] + step[1]); choose(); }
  });
  /** The pixel's patch is the chosen one everywhere; a patch chosen elsewhere shows its first pixel here. */
  function choose() {
    patch = Math.floor(pixel[0] / data.patch) * data.cols + Math.floor(pixel[1] / data.patch);
    vit.set({ patch, hover: null });
  }

  const tiny = Math.max(...data.size) <= 64;
  card.append(h("div", { class: "pair" },
    h("figure", {}, h("div", { class: "frame" }, h("img", { src: data.original, alt: "the picture as it was given", class: tiny ? "crisp" : "" })),
      h("figcaption", {}, `the file, ${data.size[0]} × ${data.size[1]} pixels`)),
    h("figure", {}, seen, h("figcaption", {}, `what the model sees, ${width} × ${height}: point at a pixel, or tap it`)),
    h("div", { class: "pixel" }, swatch, table)),
  h("div", { class: "planes" }, ...["red", "green", "blue"].map((name, c) => {
    const one = bytes.subarray(c * height * width, (c + 1) * height * width), grey = new Uint8Array(3 * one.length);
    [0, 1, 2].forEach((i) => grey.set(one, i * one.length));
    return h("figure", {}, vit.bitmap(grey, height, width, `the ${name} numbers alone, as greys`), h("figcaption", {}, `${name}: ${one.length.toLocaleString("en")} numbers`));
  })));
  vit.follow(card, (state) => {
    if (state.patch === patch) return;
    patch = state.patch;
    move(Math.floor(patch / data.cols) * data.patch, (patch % data.cols) * data.patch);
  });
};
