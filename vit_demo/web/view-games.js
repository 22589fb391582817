// Chapter 8, continued: a switch for every head, and the duel of the heat maps.
vit.games.heads = (stage, data, frame) => {
  const { h, percent, number } = vit;
  const off = new Set();
  let changes = null;
  const legend = vit.scale("change in points with the head off");
  legend.classList.add("both");
  const cells = [], out = h("div", { class: "result", "aria-live": "polite" }), bar = vit.bar();
  const grid = h("div", { class: "switches", style: `--columns:${data.heads}`, role: "group", "aria-label": "attention heads; press one to switch it off" },
    h("span"), ...Array.from({ length: data.heads }, (_, head) => h("span", { class: "quiet" }, `head ${head + 1}`)));
  for (let layer = 0; layer < data.layers; layer++) {
    grid.append(h("span", { class: "quiet" }, `layer ${layer + 1}`));
    for (let head = 0; head < data.heads; head++) {
      const key = `${layer},${head}`;
      const cell = h("button", { type: "button", "data-switch": key, "aria-pressed": "false", onclick: () => { if (off.has(key)) off.delete(key); else off.add(key); turn(); } }, h("span", { class: "mono" }, "…"));
      cells.push({ key, layer, head, cell });
      grid.append(cell);
    }
  }
  function draw() {
    const peak = changes ? Math.max(vit.peak(changes.flat()), 0.001) : 1;
    if (changes) legend.ends(`+${number(100 * peak, 1)}`, `−${number(100 * peak, 1)}`);
    cells.forEach(({ key, layer, head, cell }) => {
      const change = changes?.[layer][head];
      cell.setAttribute("aria-pressed", off.has(key) ? "true" : "false");
      cell.setAttribute("aria-label", `layer ${layer + 1}, head ${head + 1}${off.has(key) ? ", switched off" : ""}${change === undefined ? "" : `, alone off: ${number(100 * change, 1)} points`}`);
      cell.firstChild.textContent = change === undefined ? "…" : number(100 * change, 1);
      cell.style.background = change === undefined ? "" : `color-mix(in srgb, var(${change < 0 ? "--strength" : "--against"}) calc(${(Math.abs(change) / peak).toFixed(3)} * var(--full)), var(--cell))`;
    });
  }
  function hear(reply, switched) {
    if (reply.what === "heads") {
      out.replaceChildren(h("p", {}, h("b", {}, `${vit.named(reply.top[0][0])}, ${percent(reply.top[0][1])}`), ` with ${switched} of ${cells.length} heads off; ${vit.named(data.label)} was ${percent(data.confidence)}, is ${percent(reply.p)}.`));
    } else {
      bar.at(reply.progress);
      if (reply.changes) { changes = reply.changes; draw(); }
    }
  }
  const withOff = (count) => (reply) => hear(reply, count);  // as many as when it was asked
  function turn() { draw(); frame.ask({ what: "heads", off: [...off].map((key) => key.split(",").map(Number)) }, withOff(off.size)); }
  stage.append(h("p", {}, `Each number: by how many points ${data.label} changes when this one head is off. Blue heads helped, vermilion ones hindered (after Michel et al. 2019, arXiv:1905.10650). Press to switch heads off, also several together.`), legend,
    bar, h("div", { class: "scroll" }, grid), out, h("p", { class: "try" }, h("b", {}, "Try:"), " switch off the bluest head, then the bluest two together. Is what the answer loses the sum of both?"));
  vit.roving(cells.map(({ cell }) => cell));
  draw();
  frame.ask({ what: "each" }, hear);
};

vit.games.duel = (stage, data, frame) => {
  const { h, number, percent } = vit;
  const average = () => {
    const { model, scores } = data.measured;
    if (!scores) return "";
    const rows = data.duel.filter(([name]) => scores[name]).sort((a, b) => scores[b[0]][0] - scores[a[0]][0]);
    return h("details", { class: "average" }, h("summary", {}, `The same duel over many test pictures, patches dropped, of ${model}`),
      h("table", {}, h("thead", {}, h("tr", {}, ...["map", "score", "95 % interval", "pictures"].map((text) => h("th", { scope: "col" }, text)))),
        h("tbody", {}, ...rows.map(([name, title]) => h("tr", {}, h("td", {}, title), ...[number(scores[name][0]), `${number(scores[name][1])} to ${number(scores[name][2])}`, scores[name][3]].map((text) => h("td", { class: "mono" }, text)))))));
  };
  const bar = vit.bar(), plot = h("div", { class: "twin" }), legend = vit.scale("share of the map's own best patch");
  legend.top(percent(1));
  let scores = null, curves = null, chosen = null;
  const players = data.duel.map(([name, title, source]) => {
    const view = vit.picture({ src: data.src, rows: data.rows, cols: data.cols, alt: title, still: true });
    view.veil(Array(data.rows * data.cols).fill(0), 1);
    const score = h("b", { class: "mono" }, "…");
    const button = h("button", { type: "button", "aria-pressed": "false", onclick: () => { chosen = name; draw(); } }, view.node, score, h("span", {}, title), h("span", { class: "source" }, source));
    return { name, title, view, score, button };
  });
  function draw() {
    players.forEach((player, i) => {
      player.button.setAttribute("aria-pressed", player.name === chosen ? "true" : "false");
      if (scores) player.score.textContent = number(scores[i]);
    });
    if (!curves) return;
    const chart = (unit, rows) => vit.lines({ x: curves.shares, shares: true, top: 1, unit, series: players.map((player, i) => ({ name: player.name === chosen ? "this map" : player.name === "random" ? "random" : "", points: rows[i],
      tone: player.name === chosen ? "strength" : player.name === "random" ? "random" : "other" })) });
    plot.replaceChildren(chart(`insertion: p(${data.label}) with the best share only (up is good)`, curves.insertion), chart(`deletion: p(${data.label}) with the best share gone (down is good)`, curves.deletion));
  }
  stage.append(h("p", {}, `Each map ranks the patches. Put the best ones in first: a true map makes ${data.label} rise early. Take them away first: it falls early. The number is the area between; random orders get 0 on average, this one what it gets by luck (insertion and deletion: Petsiuk et al. 2018, arXiv:1806.07421).`),
    bar, legend, h("div", { class: "duel" }, ...players.map((player) => player.button)), plot, average(),
    h("p", { class: "try" }, h("b", {}, "Try:"), " guess which map wins on another sample, then choose it on the left. Is it the same one?"));
  frame.ask({ what: "duel" }, (reply) => {
    bar.at(reply.progress);
    for (const [name, map] of Object.entries(reply.maps ?? {})) {
      const player = players.find((p) => p.name === name);
      if (player.shown) continue;
      const values = vit.unpack(map);
      player.view.veil(values.map((v) => Math.max(0, v)), Math.max(...values));
      player.shown = true;
    }
    if (reply.scores) {
      scores = reply.scores; curves = reply;
      chosen = players[scores.indexOf(Math.max(...scores))].name;
      draw();
    }
  });
};
