// Chapter 1: the file beside what the model sees; the numbers of the pixel that is pointed at.
vit.views.picture = (card, data, frame) => {
  const { h, number } = vit;
  const bytes = vit.unpack(data.bytes);
  const side = data.side;
  let pixel = data.pixel;

  const box = h("rect", { class: "chosen", width: 1, height: 1 });
  const seen = h("svg", { class: "picture", viewBox: `0 0 ${side} ${side}`, tabindex: 0, role: "application",
    "aria-label": `the picture as the model sees it, ${side} by ${side} pixels; arrow keys walk from pixel to pixel` },
    h("image", { href: data.seen, width: side, height: side, class: "crisp" }), box);
  const table = h("table", {});
  const swatch = h("i", { class: "swatch" });

  const at = (channel) => bytes[(channel * side + pixel[0]) * side + pixel[1]];
  function show() {
    box.setAttribute("x", pixel[1]); box.setAttribute("y", pixel[0]);
    const rgb = [0, 1, 2].map(at);
    swatch.style.background = `rgb(${rgb.map(Math.round)})`;
    const value = (c) => (rgb[c] * data.scale - data.mean[c]) / data.std[c];
    table.replaceChildren(h("thead", {}, h("tr", {}, ...["", "byte", "rescaled", "normalised"].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", {}, ...["red", "green", "blue"].map((name, c) => h("tr", {}, h("td", {}, name),
        h("td", { class: "mono" }, Math.round(rgb[c])), h("td", { class: "mono" }, number(rgb[c] * data.scale, 3)),
        h("td", { class: "mono" }, number(value(c), 3))))));
    frame.say({ pixel: `row ${pixel[0]}, column ${pixel[1]}`, byte: Math.round(rgb[0]), value: number(value(0), 3) });
  }
  const move = (row, column) => { pixel = [(row + side) % side, (column + side) % side]; show(); };
  const pointed = (event) => {
    const area = seen.getBoundingClientRect();
    const column = Math.floor(((event.clientX - area.left) / area.width) * side);
    const row = Math.floor(((event.clientY - area.top) / area.height) * side);
    if (row >= 0 && row < side && column >= 0 && column < side) move(row, column);
  };
  seen.addEventListener("pointermove", pointed);
  seen.addEventListener("click", pointed);
  seen.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (step) { event.preventDefault(); move(pixel[0] + step[0], pixel[1] + step[1]); }
  });

  const tiny = Math.max(...data.size) <= 64;
  card.append(h("div", { class: "pair" },
    h("figure", {}, h("div", { class: "frame" }, h("img", { src: data.original, alt: "the picture as it was given", class: tiny ? "crisp" : "" })),
      h("figcaption", {}, `your file, ${data.size[0]} × ${data.size[1]} pixels`)),
    h("figure", {}, seen, h("figcaption", {}, `what the model sees, ${side} × ${side}: point at a pixel`))),
  h("div", { class: "pixel" }, swatch, table),
  h("div", { class: "planes" }, ...["red", "green", "blue"].map((name, c) => h("figure", {}, plane(bytes, side, c, name), h("figcaption", {}, `${name}: ${side * side} numbers`)))));
  show();

  function plane(values, size, channel, name) {
    const canvas = h("canvas", { width: size, height: size, class: "crisp", role: "img", "aria-label": `the ${name} numbers alone, as greys` });
    const pen = canvas.getContext("2d");
    const image = pen.createImageData(size, size);
    for (let i = 0; i < size * size; i++) {
      image.data.fill(values[channel * size * size + i], 4 * i, 4 * i + 3);
      image.data[4 * i + 3] = 255;
    }
    pen.putImageData(image, 0, 0);
    return canvas;
  }
};
