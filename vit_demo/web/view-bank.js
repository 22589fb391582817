// Attention with two words: dot products that pull meanings together. The vectors are made up, the arithmetic is real.
vit.bank = () => {
  const { h, number, percent } = vit;
  const words = { river: [2, 0.2], money: [0.2, 2], bank: [1, 1] };
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1], pair = (v) => `(${number(v[0], 1)}, ${number(v[1], 1)})`;
  const px = ([x, y]) => [26 + 46 * x, 104 - 46 * y];
  const text = h("p", { class: "quiet", "aria-live": "polite" });
  const drawing = h("svg", { class: "bank", viewBox: "0 0 172 118", role: "img" });
  const dotAt = (v, name, kind) => { const [x, y] = px(v); return h("g", { class: kind }, h("circle", { cx: x, cy: y, r: 3.5 }), h("text", { x: x + 7, y: y + 3.5 }, name)); };
  function show(other) {
    const { bank } = words, near = words[other];
    const powers = [near, bank].map((v) => Math.exp(dot(bank, v) / Math.SQRT2)), sum = powers[0] + powers[1];
    const [a, b] = powers.map((v) => v / sum), after = [0, 1].map((k) => a * near[k] + b * bank[k]);
    text.textContent = `Two numbers a word, how much water and how much money; made up, to show the idea. bank·${other} = ${number(dot(bank, near), 1)}, bank·bank = ${number(dot(bank, bank), 1)}; `
      + `divided by √2, softmax makes ${percent(a)} and ${percent(b)} of them. So bank becomes ${number(a)} ${other} + ${number(b)} bank = ${pair(after)}: pulled towards ${other}.`;
    const [from, to] = [px(bank), px(after)];
    drawing.setAttribute("aria-label", `bank moves from ${pair(bank)} to ${pair(after)}, towards ${other}`);
    drawing.replaceChildren(h("path", { class: "axes", d: "M26 6V104H168" }), h("text", { x: 168, y: 115, "text-anchor": "end" }, "water"), h("text", { x: 20, y: 10, "text-anchor": "end" }, "€"),
      ...["river", "money"].map((name) => dotAt(words[name], name, name === other ? "word" : "word away")),
      h("line", { class: "pull", x1: from[0], y1: from[1], x2: to[0], y2: to[1] }), dotAt(bank, "bank", "word old"), dotAt(after, "", "word new"));
  }
  const node = h("div", { class: "opening" }, h("div", {}, vit.choice("a sentence", ["the river bank", "money in the bank"], 0, (i) => show(i ? "money" : "river")), text), drawing);
  show("river");
  return node;
};
