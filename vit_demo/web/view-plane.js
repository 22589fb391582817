// Chapter 5, below: queries and keys of one head in one plane, and how far nearness tells who looks where.
vit.plane = ({ rows, cols, src }, { row, here, looks }) => {
  const { h, percent, who } = vit, tokens = rows * cols + 1;
  const canvas = h("canvas", { class: "plane", tabindex: 0, role: "application", "aria-roledescription": "plane of queries and keys",
    "aria-label": "Queries as dots and keys as pieces of the picture. Arrow keys walk over the patches, Escape goes to the class token; the line below says where each looks." });
  const text = h("p", { class: "quiet" }), caption = h("p", { class: "caption mono", "aria-live": "polite" });
  const image = new Image();
  let pointed = null; // the token whose query is looked at here; null: the one that looks above
  let told = null; // layer and head that the text is about
  let places = []; // of the queries and keys on the canvas, in its own pixels
  image.onload = () => draw();
  image.src = src;

  const draw = vit.repainted(canvas, () => {
    const { layer, head } = vit.state, now = here();
    const token = pointed ?? looks(), weights = row(layer, head, token);
    if (layer !== now.layer || !canvas.clientWidth) { told = null; text.textContent = "waiting for this layer …"; return; }
    lay(now.places.subarray(head * 4 * tokens, (head + 1) * 4 * tokens), canvas.clientWidth, canvas.clientHeight);
    if (told !== `${layer},${head}`) tell(layer, head, now);
    if (!weights) { caption.textContent = "choose a patch to see where its query looks"; }
    const dense = devicePixelRatio || 1, W = canvas.clientWidth, H = canvas.clientHeight;
    Object.assign(canvas, { width: W * dense, height: H * dense });
    const pen = canvas.getContext("2d");
    pen.scale(dense, dense);
    pen.imageSmoothingEnabled = false;
    const side = Math.min(20, Math.sqrt((0.22 * W * H) / tokens)), tiles = side >= 8; // too many for the room: squares instead of pieces
    const max = weights ? vit.peak(weights) : 1;
    const orange = vit.tone("token"), blue = vit.tone("strength");
    const size = [image.naturalWidth / cols, image.naturalHeight / rows];
    places.forEach(({ key: [x, y] }, t) => {
      pen.globalAlpha = weights ? 0.22 + 0.78 * (weights[t] / max) : 0.6;
      const s = tiles ? side : 5;
      if (t && tiles) pen.drawImage(image, ((t - 1) % cols) * size[0], Math.floor((t - 1) / cols) * size[1], ...size, x - s / 2, y - s / 2, s, s);
      else { pen.fillStyle = t ? blue : orange; pen.fillRect(x - s / 2, y - s / 2, s, s); }
      if (t && t === token) { pen.globalAlpha = 1; pen.strokeStyle = orange; pen.lineWidth = 2; pen.strokeRect(x - s / 2 - 1, y - s / 2 - 1, s + 2, s + 2); }
    });
    const [qx, qy] = places[token].query;
    pen.strokeStyle = blue;
    if (weights) places.forEach(({ key: [x, y] }, t) => {
      const strength = weights[t] / max;
      if (strength < 0.08) return;
      pen.globalAlpha = 0.15 + 0.6 * strength;
      pen.lineWidth = 0.5 + 2.5 * strength;
      pen.beginPath(); pen.moveTo(qx, qy); pen.lineTo(x, y); pen.stroke();
    });
    const dot = ([x, y], radius, fill, alpha) => { pen.globalAlpha = alpha; pen.fillStyle = fill; pen.beginPath(); pen.arc(x, y, radius, 0, 7); pen.fill(); };
    places.forEach(({ query }, t) => dot(query, t ? 2.5 : 5, t ? blue : orange, t ? 0.55 : 1));
    dot([qx, qy], 7, vit.tone("sheet"), 1);
    dot([qx, qy], 5.5, orange, 1);
    if (!weights) return;
    const best = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 3);
    caption.textContent = `${who(token)} looks most at ${best.map((t) => `${who(t)} ${percent(weights[t])}`).join(", ")}; the first is number ${rank(token, best[0])} of ${tokens} by nearness`;
  });

  /** How many keys lie as near to a query as this one, itself included. */
  function rank(token, key) {
    const [x, y] = places[token].query, far = (t) => Math.hypot(places[t].key[0] - x, places[t].key[1] - y), limit = far(key);
    return places.filter((_, t) => far(t) <= limit).length;
  }

  function tell(layer, head, now) {
    told = `${layer},${head}`;
    const ranks = places.map((_, t) => { const weights = row(layer, head, t); return weights && rank(t, weights.indexOf(vit.peak(weights))); });
    const mean = ranks.every(Boolean) ? ranks.reduce((a, b) => a + b, 0) / tokens : null;
    text.textContent = "Dots are queries, pieces of the picture are keys; orange is CLS and what is chosen. What no softmax notices, place and width of the two clouds, is taken out; "
      + `then the two directions that vary most are drawn (AttentionViz: Yeh et al. 2023, arXiv:2305.03210). They hold ${percent(now.explained[head])} of what the ${now.query.shape[2]} numbers of queries and keys tell apart. `
      + (mean === null ? "" : `Is near also strong? On average the key that a query looks at most is number ${mean.toFixed(0)} of ${tokens} by nearness here; by chance it would be ${((tokens + 1) / 2).toFixed(0)}.`);
  }

  /** One scale for both directions, so that near is near; the middle half of all is not squeezed by single far ones. */
  function lay(values, W, H) {
    const at = (part, t) => [values[(part * tokens + t) * 2], values[(part * tokens + t) * 2 + 1]];
    const all = Array.from({ length: 2 * tokens }, (_, i) => at(Math.floor(i / tokens), i % tokens)), margin = 16;
    const ends = [0, 1].map((axis) => { const line = all.map((p) => p[axis]); return [Math.min(...line), Math.max(...line)]; });
    const scale = Math.min((W - 2 * margin) / (ends[0][1] - ends[0][0] || 1), (H - 2 * margin) / (ends[1][1] - ends[1][0] || 1));
    const put = ([x, y]) => [W / 2 + (x - (ends[0][0] + ends[0][1]) / 2) * scale, H / 2 + (y - (ends[1][0] + ends[1][1]) / 2) * scale];
    places = Array.from({ length: tokens }, (_, t) => ({ query: put(at(0, t)), key: put(at(1, t)) }));
  }

  const choose = (token) => { pointed = token; if (token) vit.set({ hover: token - 1 }); else vit.set({ hover: null }); };
  canvas.addEventListener("pointermove", (event) => {
    const area = canvas.getBoundingClientRect(), spot = [event.clientX - area.left, event.clientY - area.top];
    const away = places.map(({ query, key }) => Math.min(...[query, key].map(([x, y]) => Math.hypot(x - spot[0], y - spot[1]))));
    const nearest = away.indexOf(Math.min(...away));
    if (away[nearest] < 14 && nearest !== pointed) choose(nearest);
  });
  canvas.addEventListener("pointerleave", () => choose(null));
  canvas.addEventListener("click", () => { if (pointed) vit.set({ patch: pointed - 1 }); });
  canvas.addEventListener("keydown", (event) => {
    const step = vit.arrow(event);
    if (event.key === "Escape") choose(0);
    if (!step) return;
    const count = rows * cols, patch = (vit.state.patch + step[0] * cols + step[1] + count) % count;
    pointed = patch + 1;
    vit.set({ patch, hover: null });
  });
  canvas.addEventListener("blur", () => choose(null));
  new ResizeObserver(() => draw()).observe(canvas);
  return { node: h("figure", {}, text, canvas, caption), draw };
};
