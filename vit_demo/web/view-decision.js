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
    const sum = powers.reduce((a, b) => a + b, 0), peak = vit.peak(logits);
    table.replaceChildren(h("thead", {}, h("tr", {}, ...["", "logit", "", "softmax", ""].map((t) => t ? h("th", { scope: "col" }, t) : h("td")))), h("tbody", {}, ...data.order.map((index, i) => {
      const v = logits[index], p = powers[index] / sum;
      return h("tr", {}, h("td", { class: "name", title: data.names[i] }, data.names[i]), h("td", {}, vit.both(v, peak)),
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
  const scale = h("div");
  const caption = h("figcaption", { class: "mono" }), note = h("p", { class: "quiet" }), bar = vit.bar(), plot = h("div", { class: "twin" });
  const method = (name) => { const [, title, about, unit, byClass] = data.methods.find(([other]) => other === name); return { title, about, unit, byClass }; };
  const measured = ({ method: name, wanted, against }) => {
    const { model, scores } = data.measured;
    if (!scores?.[name] || wanted !== data.order[0] || against >= 0) return ""; // they were measured for the answer that was given
    const told = ([score, low, high]) => `${number(score)} (95 % interval ${number(low)} to ${number(high)})`;
    const count = scores[name][3], others = scores.random[3];
    return ` On average over ${count} test pictures of ${model}: ${told(scores[name])}; a random order ${others === count ? "" : `over ${others} `}${told(scores.random)}.`;
  };
  let values = null;

  /** No map under the name of another; what is below keeps its place. */
  function clear(about = "") {
    [scale, plot, note].forEach((part) => { part.style.minHeight = `${part.offsetHeight}px`; });
    values = null;
    view.veil(new Float32Array(data.rows * data.cols).fill(1), 1);
    scale.replaceChildren(); plot.replaceChildren(); note.textContent = about;
    draw();
  }
  function ask() {
    clear(method(asked.method).about);
    bar.at(0.03);
    const question = { ...asked };  // an answer is told with its own question, whatever was chosen since
    frame.ask(question, (reply) => {
      bar.at(reply.progress);
      if (!reply.values) return;
      values = vit.unpack(reply.values);
      const peak = vit.peak(values);
      const { title, about, unit, byClass } = method(reply.method);
      const legend = vit.scale(byClass ? `${reply.signed ? "against … for" : "for"} · ${unit}` : unit);
      if (byClass) view.tint(values, peak); else view.veil(values, peak);
      legend.classList.toggle("both", reply.signed);
      legend.ends(reply.signed ? `−${number(peak, 3)}` : "0", number(peak, 3));
      [scale, plot, note].forEach((part) => { part.style.minHeight = ""; });
      scale.replaceChildren(legend);
      const line = (name, points, tone) => ({ name, points, tone });
      const chart = (unit, which) => vit.lines({ x: reply.shares, shares: true, top: 1, unit, height: 96, series: [line("this map", which[0], "strength"), line("random", which[1], "random")] });
      plot.replaceChildren(chart(`insertion by ${title}: ${said(question)} with the best share of the patches only`, reply.insertion), chart(`deletion by ${title}: ${said(question)} with the best share taken away`, reply.deletion));
      note.textContent = `${about} ${reply.sums && `${reply.sums} `}Faithfulness on this picture (insertion − deletion area, patches dropped): ${number(reply.score[0])}; one random order gets ${number(reply.score[1])}.${measured(question)}`;
      draw();
    });
  }
  const again = h("button", { type: "button", class: "do", onclick: () => { ask(); card.querySelector("select[aria-label=method]").focus(); } }, "compute again"); // choosing the same once more tells no select of it
  card.addEventListener("stopped", () => { clear(); plot.append(h("p", { class: "quiet" }, "Stopped: choose a map to begin again, or ", again)); });
  const named = (index) => data.names[data.order.indexOf(index)];
  const said = ({ wanted, against }) => (against < 0 ? `p(${named(wanted)})` : `p(${named(wanted)} of the two)`);
  const draw = () => { caption.textContent = values ? `patch ${vit.active()}: ${number(values[vit.active()], 3)}` : "…"; };

  const classes = data.order.map((index, i) => [String(index), data.names[i]]);
  const against = select("and not", [["-1", "any other"], ...classes], "-1", (v) => { asked.against = +v; ask(); });
  /** A class is not asked for against itself. */
  function why(wanted) {
    asked.wanted = wanted;
    if (asked.against === wanted) { asked.against = -1; against.querySelector("select").value = "-1"; }
    against.querySelectorAll("option").forEach((option) => { option.hidden = option.disabled = +option.value === wanted; });
  }
  why(asked.wanted);
  card.append(h("div", { class: "softmax" }, slider, table), h("p", { class: "quiet" }, "The temperature divides the logits before softmax (Guo et al. 2017, arXiv:1706.04599).", data.asked && ` ${data.asked}.`), meter(data.none),
    h("div", { class: "below" }, h("h3", {}, "What in the picture spoke for it?"),
      h("div", { class: "tools" }, select("why", classes, String(asked.wanted), (v) => { why(+v); ask(); }), against,
        select("method", data.methods.map(([name, title]) => [name, title]), asked.method, (v) => { asked.method = v; ask(); })),
      h("div", { class: "row" }, h("figure", {}, view.node, bar, scale, caption), h("div", {}, plot, note))));
  /** How far the picture is from all classes: the share of held-out pictures that are nearer to one; a warning only where few of those are. */
  function meter(found) {
    const share = found?.share;
    return h("div", { class: "below" }, h("h3", {}, "Is it any of them at all?"), ...(found ? [
      h("div", { class: "meter", role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * share), "aria-label": "held-out pictures of lower energy, in percent" }, h("i", { style: `left:${100 * share}%` })),
      h("div", { class: "ends" }, h("span", {}, "lower energy than all held-out"), h("span", {}, "higher than all"))] : []),
      h("p", { class: "quiet" }, data.none_says));
  }

  shares();
  ask();
  vit.follow(card, draw);
};
