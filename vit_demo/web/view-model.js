// Chapter 9: the facts, the confusion matrix and the reliability diagram; the time-lapse is in view-lapse.js.
vit.views.model = (card, data, frame) => {
  const { h, percent } = vit;
  card.append(h("table", { class: "card-facts" }, ...data.facts.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: name === "command" ? "mono" : "" }, value)))));
  if (data.runs.length) card.append(h("details", {}, h("summary", {}, "the runs before it, oldest first"), h("table", { class: "card-facts" },
    ...data.runs.map(([taken, command]) => h("tr", {}, h("th", { scope: "row" }, taken), h("td", { class: "mono" }, command))))));
  const below = h("div", { class: "below measured" });
  if (data.confusion) below.append(confusion(data.confusion));
  if (data.bins.length) below.append(reliability(data.bins));
  if (below.hasChildNodes()) card.append(below);
  card.append(vit.lapse(frame), h("div", { class: "below" }, h("h3", {}, "And now?"),
    h("p", { class: "quiet" }, "Walk through it all again with a picture of your own: the + at the end of the samples. Or make a model of your own from your own pictures, one folder a class, and look at it here:"),
    h("pre", { class: "command", tabindex: 0 }, "pip install -r training/requirements.txt\npython -m training.train --dataset your/pictures \\\n  --model google/vit-base-patch16-224-in21k --output runs/mine\npython app.py --model runs/mine")));

  function confusion({ labels, counts }) {
    const caption = h("figcaption", { "aria-live": "polite" }, "rows: the truth; columns: what it said. Point at a cell, or tap it.");
    const sums = counts.map((row) => row.reduce((a, b) => a + b, 0));
    const worst = Math.max(...counts.flatMap((row, i) => row.filter((_, j) => i !== j).map((n) => n / (sums[i] || 1))), 0.001);
    const table = h("table", { class: "confusion" }, h("tr", {}, h("td"), ...labels.map((label) => h("th", { scope: "col", title: label }, h("span", {}, label)))),
      ...counts.map((row, i) => h("tr", {}, h("th", { scope: "row", title: labels[i] }, labels[i]), ...row.map((n, j) => {
        const share = n / (sums[i] || 1), strength = i === j ? share : share / worst;
        const says = i === j ? `${labels[i]}: ${n} of ${sums[i]} right, ${percent(share)}` : `${n} of ${sums[i]} pictures of ${vit.a(labels[i])} were called ${labels[j]}, ${percent(share)}`;
        const tell = () => { caption.textContent = says; };
        return h("td", { class: i === data.truth && j === data.said ? "here" : "", "aria-label": says, onpointerenter: tell, onfocus: tell,
          style: `background: color-mix(in srgb, var(${i === j ? "--strength" : "--against"}) calc(${strength.toFixed(3)} * var(--full)), var(--cell))` }, n || "");
      }))));
    vit.roving([...table.querySelectorAll("td[style]")]);
    return h("figure", {}, h("h3", {}, "What it takes for what"), h("div", { class: "scroll" }, table), caption);
  }

  function reliability(bins) {
    const W = 260, pad = 40, px = (v) => pad + (W - pad - 8) * v, py = (v) => W - pad - (W - pad - 8) * v;
    const used = bins.filter((b) => b.count);
    const total = used.reduce((a, b) => a + b.count, 0), most = vit.peak(used.map((b) => b.count));
    const told = (b) => `${b.count.toLocaleString("en")} picture${b.count === 1 ? "" : "s"}: sure ${percent(b.confidence)}, right ${percent(b.accuracy)}`;
    const gap = used.reduce((a, b) => a + b.count * Math.abs(b.accuracy - b.confidence), 0) / total;
    return h("figure", {}, h("h3", {}, "When it says 80 %, is it right 80 times in 100?"),
      h("svg", { class: "chart reliability", viewBox: `0 0 ${W} ${W}`, role: "img", "aria-label": `reliability diagram: ${used.map(told).join("; ")}` },
        ...[0, 0.5, 1].map((v) => h("g", {}, h("line", { class: "tick", x1: px(0), x2: px(1), y1: py(v), y2: py(v) }), h("text", { x: pad - 5, y: py(v) + 4, "text-anchor": "end" }, percent(v)), h("text", { x: px(v), y: W - pad + 15, "text-anchor": "middle" }, percent(v)))),
        h("line", { class: "ideal", x1: px(0), y1: py(0), x2: px(1), y2: py(1) }),
        ...used.map((b) => { // one that was never right is still a line
          const height = Math.max(2, py(0) - py(b.accuracy));
          return h("rect", { class: "bin", x: px(b.low) + 1, width: Math.max(1, px(b.high) - px(b.low) - 2), y: py(0) - height, height, style: `fill-opacity: ${(0.25 + 0.75 * Math.sqrt(b.count / most)).toFixed(2)}` }, h("title", {}, told(b)));
        }),
        h("line", { class: "now", x1: px(data.confidence), x2: px(data.confidence), y1: py(0), y2: py(1) })),
      h("figcaption", {}, `bars: share right, by how sure it was, fainter where they hold fewer pictures (the most: ${most.toLocaleString("en")}); the line is honesty, orange is this picture. A bar above the line: right more often than it says; below it: less often. Mean gap ${percent(gap)}: how far apart the two are on average, bar by bar, each counted with its pictures.`));
  }
};
