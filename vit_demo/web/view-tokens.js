// Chapter 4: the sum that makes a token, the cosines of positions, and the jigsaw.
vit.views.tokens = (card, data, frame) => {
  const { h, number, percent } = vit;
  const { rows, cols, width } = data, count = rows * cols;
  const patches = vit.unpack(data.patches), positions = vit.unpack(data.positions), cls = vit.unpack(data.cls);
  const top = vit.full(patches), first = positions.subarray(0, width);

  const view = vit.picture({ src: data.src, rows, cols, alt: "The picture" });
  const strip = (values, kind, label) => vit.strip(values, { max: top, kind, label });
  const strips = { x: strip(first, "patch", "the patch"), p: strip(first, "position", "its position"), s: strip(first, "patch", "the token") };
  const names = { x: h("span"), p: h("span"), s: h("span") };

  function draw() {
    const p = vit.active(), token = p + 1;
    const x = patches.subarray(p * width, (p + 1) * width), place = positions.subarray(token * width, (token + 1) * width);
    const sum = x.map((v, i) => v + place[i]);
    strips.x.paint(x, top); strips.p.paint(place, top); strips.s.paint(sum, top);
    names.x.textContent = `patch ${p}`; names.p.textContent = `position ${token}`; names.s.textContent = `token ${token}`;
    const few = (values) => `(${[0, 1, 2].map((i) => number(values[i])).join(", ")}, …)`;
    frame.say({ token, x: few(x), place: few(place), sum: few(sum) });
  }

  const line = (name, strip) => h("div", { class: "part" }, typeof name === "string" ? h("span", {}, name) : name, strip);
  card.append(h("div", { class: "row" }, h("figure", {}, view.node),
    h("div", {}, h("h3", {}, "patch + position = token"), line(names.x, strips.x), line(names.p, strips.p), line(names.s, strips.s),
      h("h3", { class: "later" }, "in front: CLS + position = token 0"), line("CLS", strip(cls, "cls", "the class token")), line("position 0", strip(first, "position", "the class token's position")),
      line("token 0", strip(cls.map((v, i) => v + first[i]), "cls", "token 0")),
      h("p", { class: "quiet later" }, `A vector is drawn as a strip of cells, ${width > 192 ? "192 of them, " : ""}blue above 0 and vermilion below, full colour from ±${number(top)} on: the same strip as in the chapter before.`))),
  vit.positions(data, positions), data.resize ? vit.resized(data.resize, frame) : "", jigsaw());
  vit.follow(card, draw);

  function jigsaw() {
    let share = 1, seed = 1;
    const canvas = h("canvas", { class: "picture crisp small", width: cols * 16, height: rows * 16, role: "img", "aria-label": "the picture with its patches shuffled" });
    const image = new Image();
    const paint = (order) => {
      const pen = canvas.getContext("2d"), w = image.naturalWidth / cols, hh = image.naturalHeight / rows;
      pen.imageSmoothingEnabled = false;
      for (let i = 0; i < count; i++) pen.drawImage(image, (order[i] % cols) * w, Math.floor(order[i] / cols) * hh, w, hh, (i % cols) * 16, Math.floor(i / cols) * 16, 16, 16);
    };
    image.onload = () => paint([...Array(count).keys()]);
    image.src = data.src;
    const out = h("div", { class: "result", "aria-live": "polite" }, h("p", {}, `In order: ${data.best}, ${percent(data.confidence)}.`));
    const other = () => (data.other ? [h("button", { type: "button", class: "link", onclick: () => document.querySelector(`[data-sample="${data.other[0]}"]`).click() }, `this ${data.other[1]}`), ", whose pieces alone mislead it."]
      : ["one whose colours do not give it away."]);
    const heard = ({ order, positions: how, top: best, was, largest, curve, progress }, shuffled) => {
      if (curve) return chart(curve, progress);
      paint(order);
      const same = largest < 0.001;
      out.replaceChildren(h("p", {}, { stay: "The patches moved, the positions stayed: ", move: "Patches and positions moved together: ", zero: "No positions at all: " }[how],
        h("b", {}, `${best[0][0]}, ${percent(best[0][1])}`), `. ${data.best} was ${percent(data.confidence)}, is now ${percent(was)}.`, (how === "zero" || how === "stay" && shuffled === 1) && was > data.confidence / 2 ? [" This one it knows by its pieces alone, nearly: try ", ...other()] : ""),
        h("p", { class: "quiet mono" }, `largest change of a logit: ${same ? largest.toExponential(1) : number(largest)}${same ? ", which is rounding: the model cannot tell" : ""}`));
    };
    const ask = (how) => { const asked = share; frame.ask({ what: "jigsaw", share, seed: how === "zero" ? seed : seed++, positions: how }, (reply) => heard(reply, asked)); };
    const button = (text, how) => h("button", { type: "button", class: "do", "data-how": how, onclick: () => ask(how) }, text);
    const plot = h("div", { class: "plot" });
    const chart = (points, progress) => plot.replaceChildren(vit.lines({ x: data.shares, shares: true, top: 1, unit: `share of the patches shuffled (up: p(${data.best}); points: the mean of 4 shuffles, pale bars: from the lowest to the highest)`, series: [{ name: data.best, points }], progress }));
    return h("div", { class: "below" }, h("h3", {}, "The jigsaw proof"), h("div", { class: "costs" }, canvas,
      h("div", {}, vit.slider("share shuffled", { min: 0, max: 100, step: 5, value: 100, show: (v) => `${v} %` }, (v) => { share = v / 100; }),
        h("div", { class: "tools", style: "padding-top:10px" }, button("shuffle", "stay"), button("shuffle with positions", "move"), button("no positions", "zero"),
          h("button", { type: "button", class: "do", onclick: () => frame.ask({ what: "curve" }, heard) }, "draw the curve")), out, plot)));
  }
};
