// Chapter 6: the logit lens by layer, for CLS as curves and for the patches as light; cosines; what layers add.
vit.views.depth = (card, data, frame) => {
  const { h, percent, number } = vit;
  const { rows, cols, layers } = data, count = rows * cols;
  const best = vit.unpack(data.best), tops = vit.unpack(data.tops);
  let cosines = vit.unpack(data.cosines), at = data.at, layer = Math.min(vit.state.after ?? data.after, layers);
  const brightest = vit.peak(best);
  const steps = [...Array(layers + 1).keys()];

  const view = vit.picture({ src: data.src, rows, cols, alt: `Bright patches: read there, the answer is ${data.label}` });
  const scale = vit.scale(`read at this patch: ${data.label}`);
  const caption = h("figcaption", { class: "mono" }), agree = h("figcaption", {});
  const lines = h("div", {}), near = vit.thumb(rows, cols, 22), nearText = h("figcaption", {});
  const nearScale = vit.scale("cosine");
  near.classList.add("wide");
  near.removeAttribute("aria-hidden");
  near.setAttribute("role", "img");
  nearScale.classList.add("both");
  nearScale.ends("−1", "1");
  const slider = vit.slider("after layer", { min: 0, max: layers, value: layer, show: (v) => (v ? `${v} of ${layers}` : "none yet") }, (v) => go(v));
  function go(to) {
    layer = to;
    fetch();
    vit.set({ after: to });
  }
  /** A large model's cosines come for one layer at a time. */
  function fetch() {
    if (at !== null && at !== layer) frame.ask({ what: "cosines", layer }, (reply) => { cosines = vit.unpack(reply.cosines); at = reply.at; draw(); });
  }
  card.append(slider, h("div", { class: "row", style: "padding-top:14px" },
    h("figure", {}, view.node, scale, agree, caption),
    h("div", {}, h("h3", {}, "the class token, read after each layer"), lines,
      h("p", { class: "quiet" }, "The logit lens: nostalgebraist 2020; for ViTs Vilas et al. 2023, arXiv:2310.18969."),
      h("h3", { class: "later" }, "patches that are now like the chosen one (as in EL-VIT: Zhou et al. 2024, arXiv:2401.12666)"), h("figure", { class: "near" }, near, nearScale, nearText))),
  h("div", { class: "below twin" },
    vit.lines({ x: steps, top: vit.nice(Math.max(...data.norms.CLS, ...data.norms.patches)), unit: "length of a token's vector, by layer", format: vit.tick,
      series: [{ name: "CLS", points: data.norms.CLS, tone: "token" }, { name: "patches", points: data.norms.patches }] }),
    vit.lines({ x: steps.slice(1), top: vit.nice(Math.max(...data.added.attention, ...data.added.MLP)), unit: "what a layer adds to it (mean length)", format: vit.tick,
      series: [{ name: "attention", points: data.added.attention }, { name: "MLP", points: data.added.MLP, tone: "plain" }] })));
  const inside = vit.block(data, frame, { layer: () => layer, go: (to) => { slider.put(to); go(to); } });
  card.append(inside, vit.written(data));

  const told = (token) => data.top[layer][token].map((label, i, most) => [data.labels[label], tops[(layer * (count + 1) + token) * most.length + i]]);
  let drawn = null;
  function draw() {
    const p = vit.active();
    if (drawn !== layer) {
      drawn = layer;
      lines.replaceChildren(vit.lines({ x: steps, top: 1, unit: "layer", mark: layer,
        series: data.curves.map((points, i) => ({ name: data.classes[i], points, tone: i ? "other" : "strength" })) }));
      const shares = best.subarray(layer * count, (layer + 1) * count);
      view.veil(shares, brightest);
      scale.top(percent(brightest));
      const saying = [...shares.keys()].filter((p) => data.top[layer][p + 1][0] === data.answer), yet = layer < layers;
      view.ring(saying);
      agree.textContent = saying.length ? `${saying.length} of ${count} patches${yet ? " already" : ""} say${saying.length === 1 ? "s" : ""} ${data.label}: framed` : `of ${count} patches none says ${data.label}${yet ? " yet" : ""}`;
    }
    const says = told(p + 1), cls = told(0), say = ([name, share]) => `${vit.named(name)} ${percent(share)}`;
    caption.textContent = `patch ${p}: ${says.map(say).join(" · ")}`;
    const block = at === null ? layer : 0;
    const row = at === null || at === layer ? cosines.subarray((block * count + p) * count, (block * count + p + 1) * count) : null;
    near.style.visibility = row ? "" : "hidden";
    if (row) {
      near.paint(row, 1);
      const alike = [...row.keys()].filter((i) => i !== p).sort((i, j) => row[j] - row[i]).slice(0, 3);
      near.setAttribute("aria-label", `most like patch ${p}: ${alike.map((i) => `patch ${i}, cosine ${number(row[i])}`).join("; ")}`);
      nearText.textContent = count > 1 ? `cosine, mean over the others ${number((row.reduce((a, b) => a + b, 0) - 1) / (count - 1))}` : "there is no other patch";
    }
    frame.recode(0, `layer = ${layer}  # 0: before the first`, `How sure the class token is of ${data.label} after ${layer ? `layer ${layer}` : "no layer"}: ${percent(data.curves[0][layer])}.`);
    frame.say({ layer, when: layer ? `after layer ${layer}` : "before the first layer", patch: p,
      holds: layer ? "what that token has gathered by then, of all the others too" : "its own patch and place alone", says: say(says[0]), cls: cls.map(say).join(" · ") });
    inside.draw();
  }
  if (vit.state.after > layers) vit.set({ after: layers });
  fetch();
  vit.follow(card, draw);
};
