// Chapter 5: attention of every head, from every token. Sent once; pointing answers here, without the server.
vit.views.attention = (card, data, frame) => {
  const { h, percent, number, who } = vit;
  const { rows, cols, layers, heads } = data;
  const count = rows * cols, tokens = count + 1;
  const all = data.all && vit.unpack(data.all);
  let rest = data.row && { token: data.token, row: vit.unpack(data.row) }; // of a large model: one token's row in every head
  const opened = ({ layer, one, query, key, value, places, explained }) => ({ layer, one: one && vit.unpack(one), query: vit.unpack(query), key: vit.unpack(key), value: vit.unpack(value), places: vit.unpack(places), explained });
  const share = (weight) => percent(weight || 1e-9); // what softmax gives is never 0; what was sent has steps
  let here = opened(data);
  let fromCls = false, picked = null; // a pair [token that looks, token looked at] that the reader has chosen

  /** The row of weights (T) that `token` gives in one head; null while that layer is not here. */
  function row(layer, head, token) {
    const cut = (weights, index) => weights.subarray(index * tokens, (index + 1) * tokens);
    if (all) return cut(all, (layer * heads + head) * tokens + token);
    if (here.one && layer === here.layer) return cut(here.one, head * tokens + token);
    return rest.token === token ? cut(rest.row, layer * heads + head) : null;
  }

  vit.set(vit.state.chosen ? { layer: Math.min(vit.state.layer, layers - 1), head: Math.min(vit.state.head, heads - 1) }
    : { layer: data.layer, head: data.head }); // it opens where the server found most to see, and does so again with another picture until the visitor chooses

  const view = vit.picture({ src: data.src, rows, cols, alt: "Attention: bright patches are looked at, veiled ones are not" });
  const scale = vit.scale("weight of one patch");
  const caption = h("figcaption", { class: "mono" });
  const blank = new Float32Array(data.width), part = (label) => ({ name: h("span"), strip: vit.strip(blank, { label }), sum: h("span", { class: "mono" }) });
  const parts = { query: part("the query"), key: part("the key"), product: part("the products, number by number"), value: part("the value"), mix: part("the mix of all values") };
  const asker = vit.choice("who looks", ["the chosen patch looks", "CLS looks"], 0, (i) => { fromCls = i === 1; picked = null; draw(); });
  const thumbs = [];
  const grid = h("div", { class: "thumbs", style: `--columns: ${heads * Math.max(1, Math.floor(6 / heads))}; --narrow: ${heads}`, role: "group", "aria-label": "layers and heads" });
  for (let layer = 0; layer < layers; layer++) for (let head = 0; head < heads; head++) {
    const canvas = vit.thumb(rows, cols);
    const button = h("button", { type: "button", "aria-label": `layer ${layer + 1}, head ${head + 1}`, "data-layer": layer, "data-head": head,
      onclick: () => pick(layer, head) }, canvas, heads > 6 ? `${layer + 1}·${head + 1}` : `${layer + 1} · ${head + 1}`);
    thumbs.push({ layer, head, canvas, button });
    grid.append(button);
  }
  const legend = h("figcaption");
  vit.roving(thumbs.map(({ button }) => button), vit.state.layer * heads + vit.state.head);
  card.append(vit.bank(), h("div", { class: "tools" }, asker), h("div", { class: "row" },
    h("figure", {}, view.node, scale, caption), h("figure", {}, h("h3", {}, "layer · head"), grid, legend)),
  h("div", { class: "below" }, h("h3", {}, "One pair, worked out"),
    h("p", { class: "quiet" }, `Query, key and value are a token, its numbers evened out by LayerNorm, times three learned matrices of this head (q_proj, k_proj, v_proj): ${data.width} numbers each.`), ...Object.values(parts).map(({ name, strip, sum }) => h("div", { class: "part worked" }, name, strip, sum))));

  const looks = () => (fromCls ? 0 : vit.active() + 1);
  /** The pair that is worked out below: the one picked, else CLS and the chosen patch, or the chosen patch and the one it looks at most, or CLS when it is none. */
  function paired() {
    const token = looks();
    if (picked?.[0] === token) return picked;
    const patches = row(vit.state.layer, vit.state.head, token)?.subarray(1), most = patches && vit.peak(patches);
    return [token, fromCls ? vit.active() + 1 : most ? 1 + patches.indexOf(most) : 0];
  }
  function pair(token, other) {
    picked = [token, other];
    fromCls = token === 0;
    asker.mark(fromCls ? 1 : 0);
    vit.set(fromCls ? { hover: null } : { patch: token - 1, hover: null });
  }
  const more = vit.attentionMore(data, frame, { row, looks, pair, paired, here: () => here });
  card.append(more);

  const pick = (layer, head) => vit.set({ layer, head, chosen: true });
  let wanted = { layer: data.layer, token: data.token };
  /** Another layer's queries and keys come when it is chosen; a large model's weights too, when a patch is chosen, not pointed at. */
  function fetch(layer, token) {
    if (all || vit.state.hover !== null) token = wanted.token;
    const got = layer === here.layer && (all || token === rest.token), coming = layer === wanted.layer && token === wanted.token && frame.line.busy;
    if (got || coming) return;
    wanted = { layer, token };
    frame.ask({ what: "look", ...wanted }, (reply) => {
      here = opened(reply);
      if (reply.row) rest = { token: reply.token, row: vit.unpack(reply.row) };
      painted = null;
      draw();
    });
  }

  let painted = null;
  function draw() {
    const { layer, head } = vit.state;
    const token = looks();
    fetch(layer, token);
    const weights = row(layer, head, token);
    if (!weights) return;
    const patches = weights.subarray(1);
    const max = vit.peak(patches);
    view.veil(patches, max);
    scale.top(percent(max));
    if (painted !== token) {
      painted = token;
      let empty = false; // weights below a step of what was sent are 0
      thumbs.forEach((thumb) => {
        const small = row(thumb.layer, thumb.head, token)?.subarray(1);
        thumb.canvas.style.opacity = small ? 1 : 0.25;
        if (small) thumb.canvas.paint(small, vit.peak(small));
        empty ||= small?.every((weight) => weight === 0);
      });
      legend.textContent = `each small grid is as blue as its own strongest patch${empty ? "; an empty one gives all but a trace of its weight to the class token" : ""}`;
    }
    thumbs.forEach((thumb) => thumb.button.setAttribute("aria-pressed", thumb.layer === layer && thumb.head === head ? "true" : "false"));
    const best = patches.indexOf(max);
    const other = paired()[1];
    caption.textContent = `${who(token)} → ${who(other)}: ${share(weights[other])} · to CLS: ${share(weights[0])}`;
    const named = (token) => (token === 0 ? "CLS" : token - 1);
    const sure = { asks: named(token), asked: named(other), layer: layer + 1, head: head + 1, who: token === 0 ? "the class token" : vit.where(token - 1).text.split(" · token")[0],
      most: share(max), target: max ? vit.where(best).text.split(" · token")[0] : "none of them",
      rest: token === 0 ? `It keeps ${share(weights[0])} for itself.` : `The class token gets ${share(weights[0])}.`, weight: share(weights[other]) };
    if (layer === here.layer) {
      const width = data.width, a = (head * tokens + token) * width, b = (head * tokens + other) * width;
      const query = here.query.subarray(a, a + width), key = here.key.subarray(b, b + width), product = query.map((v, i) => v * key[i]);
      const dot = product.reduce((sum, v) => sum + v, 0);
      Object.assign(sure, { dot: number(dot), score: number(dot / Math.sqrt(width)) });
      const value = here.value.subarray(b, b + width), mix = new Float32Array(width);
      weights.forEach((weight, t) => { for (let i = 0; i < width; i++) mix[i] += weight * here.value[(head * tokens + t) * width + i]; });
      const shown = [["query", query, `query, ${who(token)}`], ["key", key, `key, ${who(other)}`], ["product", product, "multiplied", `sum ${number(dot)}`],
        ["value", value, `value, ${who(other)}`, `× ${share(weights[other])}`], ["mix", mix, "all values, each by its weight"]];
      for (const [which, values, text, sum = `±${number(vit.peak(values))}`] of shown) {
        parts[which].name.textContent = text;
        parts[which].sum.textContent = sum;
        parts[which].strip.paint(values, vit.peak(values));
      }
    } else Object.assign(sure, { dot: "…", score: "…" });
    const order = [...weights.keys()].sort((x, y) => weights[y] - weights[x]).slice(0, 4);
    sure.mix = order.map((t) => `${share(weights[t])} v(${named(t)})`).join(" + ") + " + …";
    frame.say(sure);
    frame.recode(0, `layer, head, token, key = ${layer}, ${head}, ${token}, ${other}  # counted from 0; token 0 is CLS`,
      `The weight that ${who(token)} gives to ${who(other)} in layer ${layer + 1}, head ${head + 1}: ${share(weights[other])}.`);
    if (layer === here.layer) frame.recode(1, `layer, head, width = ${layer}, ${head}, ${data.width}  # counted from 0`,
      `The share of variance that the plane of queries and keys shows, layer ${layer + 1}, head ${head + 1}: ${percent(here.explained[head])}.`);
    more.draw();
  }
  vit.follow(card, draw);
};
