// Chapter 2: one patch close up, its numbers laid in a row; what other patch sizes would cost.
vit.views.patches = (card, data, frame) => {
  const { h, number } = vit;
  const { patch: P, cols, height, width } = data;
  const bytes = vit.unpack(data.bytes);
  const normal = (c, y, x) => (bytes[(c * height + y) * width + x] * data.scale - data.mean[c]) / data.std[c];

  const view = vit.picture({ src: data.src, rows: data.rows, cols, alt: "The picture" });
  const close = h("svg", { class: "picture close", viewBox: `0 0 ${P} ${P}`, role: "img", "aria-label": "the chosen patch, enlarged" });
  const channels = h("div", { class: "channels" });
  const flat = h("div", { class: "flat", role: "img", "aria-label": "the patch laid out as one row of numbers: red, green, blue" });
  const caption = h("figcaption", { class: "mono" }), scale = h("figcaption", {});

  function draw() {
    const p = vit.active(), { row, column } = vit.where(p);
    const y0 = row * P, x0 = column * P, values = [];
    close.replaceChildren(...Array.from({ length: P * P }, (_, i) => {
      const y = y0 + Math.floor(i / P), x = x0 + (i % P);
      return h("rect", { x: i % P, y: Math.floor(i / P), width: 1.02, height: 1.02, fill: `rgb(${[0, 1, 2].map((c) => bytes[(c * height + y) * width + x])})` });
    }));
    const tables = ["red", "green", "blue"].map((name, c) => {
      const table = h("table", { class: "values" }, h("caption", {}, name));
      for (let y = 0; y < P; y++) {
        const line = h("tr", {});
        for (let x = 0; x < P; x++) {
          values.push(normal(c, y0 + y, x0 + x));
          if (P <= 8) line.append(h("td", { class: "mono" }, Math.round(bytes[(c * height + y0 + y) * width + x0 + x])));
        }
        table.append(line);
      }
      return table;
    });
    channels.replaceChildren(...(P <= 8 ? tables : [h("p", { class: "quiet" }, `${P} × ${P} × 3 values: too many to print, all of them are in the strip`)]));
    const peak = vit.peak(values);
    flat.replaceChildren(...values.map((v, i) => h("i", { class: `c${Math.floor(i / (P * P))}`, style: `height:${50 * Math.abs(v) / (peak || 1)}%; ${v < 0 ? "top:50%" : "bottom:50%"}; left:${(100 * i) / values.length}%; width:${Math.max(0.05, 100 / values.length - (P <= 8 ? 0.5 : 0))}%` })));
    caption.textContent = vit.where(p).text;
    frame.say({ patch: p, rows: `${y0} to ${y0 + P - 1}`, columns: `${x0} to ${x0 + P - 1}`, first: values.slice(0, 4).map((v) => number(v)).join(", ") });
    frame.recode(0, `row, column, size = ${row}, ${column}, ${P}`, `The first of the ${values.length} numbers of patch ${p}: ${number(values[0], 3)}.`);
    scale.textContent = `bars from the middle line, 0; the longest is ${number(peak)}`;
  }

  card.append(h("div", { class: "row" },
    h("figure", {}, view.node, caption),
    h("figure", {}, h("h3", {}, "the chosen patch"), h("div", { class: "patchwork" }, close, channels),
      h("h3", { class: "later" }, "laid out in a row, as the model is given it: reds, greens, blues"), flat, scale)), data.sizes.length ? costs() : "");
  vit.follow(card, draw);

  function costs() {
    const sizes = data.sizes;
    const start = Math.max(0, sizes.findIndex((s) => s.patch === P));
    const drawing = h("svg", { class: "picture small", viewBox: "0 0 100 100", role: "img", "aria-label": "the picture with this grid" });
    const facts = h("table", { class: "facts" });
    const show = (index) => {
      const s = sizes[index], n = Math.round(height / s.patch), step = 100 / n;
      let d = "";
      if (n <= 64) for (let i = 1; i < n; i++) d += `M0 ${i * step}H100M${i * step} 0V100`;
      drawing.replaceChildren(h("image", { href: data.src, width: 100, height: 100, class: "crisp" }), h("path", { class: "lines", d }));
      const rows = [["tokens", `${n}² + 1 = ${s.tokens.toLocaleString("en")}`], ["pairs to compare, a head and layer", s.pairs.toLocaleString("en")],
        ["of all arithmetic, comparing and mixing take", s.share]];
      facts.replaceChildren(...rows.map(([name, value]) => h("tr", {}, h("td", {}, name), h("td", { class: "mono" }, value))));
    };
    const slider = vit.slider("patch side", { min: 0, max: sizes.length - 1, value: start, show: (i) => `${sizes[i].patch} px` }, show);
    show(start);
    return h("div", { class: "below" }, h("h3", {}, "What if the patches had another size?"),
      h("div", { class: "costs" }, drawing, h("div", {}, slider, facts, data.timed ? timing() : "")));
  }

  function timing() {
    const out = h("div", { class: "timing" });
    const time = (s) => (s < 1 ? `${number(1000 * s, s < 0.01 ? 1 : 0)} ms` : s < 600 ? `${number(s, 1)} s` : `${number(s / 3600, 1)} h`);
    const go = h("button", { type: "button", class: "do" }, "measure on this server");
    go.addEventListener("click", () => {
      frame.ask({ what: "time" }, ({ rows, progress }) => {
        if (progress === 1) go.textContent = "measure again";
        const top = Math.max(...rows.map((r) => Math.log10(r.seconds * 1e4)), 1);
        out.replaceChildren(...(progress < 1 ? [vit.bar(progress)] : []),
          h("div", { class: "scroll" }, h("table", { class: "times" }, h("thead", {}, h("tr", {}, ...["patch", "pairs", "× before", "", "time", "× before", ""].map((text) => (text ? h("th", { scope: "col" }, text) : h("td"))))),
            h("tbody", {}, ...rows.map((r, i) => h("tr", {}, h("td", { class: "mono" }, `${r.patch} px`),
              h("td", { class: "mono" }, r.pairs.toLocaleString("en")), h("td", { class: "mono" }, i ? number(r.pairs / rows[i - 1].pairs, 1) : ""),
              h("td", {}, h("span", { class: "bar" }, h("i", { class: r.measured ? "" : "guess", style: `width:${100 * Math.log10(r.seconds * 1e4) / top}%` }))),
              h("td", { class: "mono" }, time(r.seconds)), h("td", { class: "mono" }, i ? number(r.seconds / rows[i - 1].seconds, 1) : ""),
              h("td", { class: "quiet" }, r.measured ? "measured" : "extrapolated")))))),
          h("p", { class: "quiet" }, "One picture through a model of this width and depth with random weights; bars on a logarithmic scale. While tokens are few, what every call costs takes the time, then all the other arithmetic, which grows with the tokens, and only at last the pairs."));
      });
    });
    return h("div", {}, h("div", { class: "tools" }, go), out);
  }
};
