// Chapter 7: logits, softmax with a temperature, and the map of what spoke for a class or against it.
vit.views.decision = (card, data, frame) => {
  const { h, number, percent } = vit;
  const logits = vit.unpack(data.logits);
  let temperature = 1;
  const table = h("table", { class: "logits" });
  const slider = vit.slider("temperature", { min: -20, max: 20, value: 0, show: (v) => number(10 ** (v / 20), 2) }, (v) => { temperature = 10 ** (v / 20); shares(); });

  function shares() {
    const top = Math.max(...logits);
    const powers = logits.map((v) => Math.exp((v - top) / temperature));
    const sum = powers.reduce((a, b) => a + b, 0), peak = Math.max(...logits.map(Math.abs));
    table.replaceChildren(h("thead", {}, h("tr", {}, ...["", "logit", "", "softmax", ""].map((t) => t ? h("th", { scope: "col" }, t) : h("td")))), h("tbody", {}, ...data.order.map((index, i) => {
      const v = logits[index], p = powers[index] / sum;
      return h("tr", {}, h("td", { class: "name" }, data.names[i]), h("td", {}, h("span", { class: "both" }, h("i", { class: v < 0 ? "minus" : "", style: `width:${50 * Math.abs(v) / peak}%;${v < 0 ? "right:50%" : "left:50%"}` }))),
        h("td", { class: "mono" }, number(v)), h("td", {}, h("span", { class: "bar" }, h("i", { style: `width:${100 * p}%` }))), h("td", { class: "mono" }, percent(p)));
    })));
    frame.say({ logit: number(logits[data.order[0]]), temperature: number(temperature, 2), p: percent(powers[data.order[0]] / sum) });
  }

  const select = (label, options, chosen, change) => {
    const node = h("select", { "aria-label": label, onchange: () => change(node.value) }, ...options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
    return h("label", { class: "pick" }, h("span", {}, label), node);
  };
  const asked = { what: "map", wanted: data.order[0], against: -1, method: data.default };
  const view = vit.picture({ src: data.src, rows: data.rows, cols: data.cols, alt: "What spoke for the class" });
  const scale = vit.scale("this patch speaks against … for it");
  const caption = h("figcaption", { class: "mono" }), note = h("p", { class: "quiet" }), bar = h("div", { class: "progress" }, h("i")), plot = h("div", { class: "twin" });
  const about = (name) => data.methods.find((method) => method[0] === name)[2];
  const measured = (name) => {
    const { model, pictures, scores } = data.measured;
    if (!scores?.[name]) return "";
    const said = ([score, low, high]) => `${number(score)} (95 % interval ${number(low)} to ${number(high)})`;
    return ` On average over ${pictures} test pictures of ${model === "bundled" ? "the bundled model" : model}: ${said(scores[name])}; a random order ${said(scores.random)}.`;
  };
  let values = null;

  function ask() {
    note.textContent = about(asked.method);
    bar.style.visibility = "visible"; bar.firstChild.style.width = "3%";
    frame.ask(asked, (reply) => {
      bar.firstChild.style.width = `${100 * reply.progress}%`;
      if (!reply.values) return;
      bar.style.visibility = "hidden";
      values = vit.unpack(reply.values);
      const peak = Math.max(...values.map(Math.abs));
      view.tint(values, peak);
      scale.classList.toggle("both", reply.signed);
      scale.ends(reply.signed ? `−${number(peak, 3)}` : "0", number(peak, 3));
      const line = (name, points, tone) => ({ name, points, tone });
      const chart = (unit, which) => vit.lines({ x: reply.shares, top: 1, unit, height: 96, series: [line("this map", which[0], "strength"), line("random", which[1], "other")] });
      plot.replaceChildren(chart("with the best patches only, ever more of them", reply.insertion), chart("with the best patches taken away", reply.deletion));
      note.textContent = `${about(reply.method)}. Faithfulness on this picture (insertion − deletion area): ${number(reply.score[0])}, a random order gets ${number(reply.score[1])}.${measured(reply.method)}`;
      draw();
    });
  }
  const draw = () => { caption.textContent = values ? `patch ${vit.active()}: ${number(values[vit.active()], 3)}` : "…"; };

  const classes = data.order.map((index, i) => [String(index), data.names[i]]);
  card.append(h("div", { class: "softmax" }, slider, table), h("p", { class: "quiet" }, "The temperature divides the logits before softmax (Guo et al. 2017, arXiv:1706.04599)."), data.none ? meter(data.none) : "",
    h("div", { class: "below" }, h("h3", {}, "What in the picture spoke for it?"),
      h("div", { class: "tools" }, select("why", classes, String(asked.wanted), (v) => { asked.wanted = +v; ask(); }),
        select("and not", [["-1", "any other"], ...classes], "-1", (v) => { asked.against = +v; ask(); }),
        select("method", data.methods.map(([name, title]) => [name, title]), asked.method, (v) => { asked.method = v; ask(); })),
      h("div", { class: "row" }, h("figure", {}, view.node, bar, scale, caption), h("div", {}, plot, note))));
  /** How far the picture is from all classes: the share of held-out pictures that are nearer to one. */
  function meter({ energy, share }) {
    return h("div", { class: "below" }, h("h3", {}, "Is it any of them at all?"),
      h("div", { class: "meter", role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * share), "aria-label": "none of the classes" }, h("i", { style: `left:${100 * share}%` })),
      h("div", { class: "ends" }, h("span", {}, "clearly one of them"), h("span", { class: "mono" }, percent(share)), h("span", {}, "like none of them")),
      h("p", { class: "quiet" }, `energy ${number(energy)} = −log Σ e^logit, higher than that of ${percent(share)} of held-out pictures (Liu et al. 2020, arXiv:2010.03759)`));
  }

  shares();
  ask();
  vit.follow(card, draw);
};
