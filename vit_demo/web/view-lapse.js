// Chapter 9, below: the training as a film. Each snapshot's filters, position maps and CLS attention, along a slider.
vit.lapse = (frame) => {
  const { h, percent, number } = vit;
  const stage = h("div", {}), node = h("div", { class: "below lapse" }, h("h3", {}, "Watch it learn"), stage);
  const line = (...words) => h("p", { class: "quiet" }, ...words), code = (text) => h("code", {}, text);
  let film = null;

  function hear(reply) {
    if (reply.open) return (film ??= projector(reply)).add(reply);
    const { epochs, copies, bytes, problem } = reply;
    const open = h("button", { type: "button", class: "do", onclick: () => { stage.replaceChildren(line("opening the first …")); frame.ask({ what: "lapse", open: true }, hear); } },
      `open ${copies} snapshots, about ${number(bytes / 1e6, bytes < 1e7 ? 1 : 0)} MB`);
    if (problem) stage.replaceChildren(line(`Its snapshots cannot be shown: ${problem}.`), epochs.length ? open : "");
    else if (!epochs.length) stage.replaceChildren(line("This model brings no snapshots of its training. ", ...how()));
    else stage.replaceChildren(h("div", { class: "tools" }, open));
  }
  const how = () => [code("python -m training.train … --snapshots 8"), " keeps some along a run, in its folder; ", code("python -m training.publish FOLDER --repo USER/NAME --snapshots"),
    " sends them to the Hub with the model. Then its filters, positions and attention can be watched here as they form."];
  stage.append(line("looking for snapshots …"));
  frame.ask({ what: "lapse" }, hear);
  return node;

  /** The screen, once the first snapshot is here; the others are added to it as they come. */
  function projector({ epochs, of: { src, rows, cols, layers, label, whose } }) {
    const count = rows * cols, still = rows !== vit.state.grid.rows || cols !== vit.state.grid.cols; // other patches than the page's
    let steps = [], at = 0, layer = layers - 1, touched = false, timer = null, checked = null;
    const told = h("p", { class: "told", "aria-live": "polite" });
    const slider = vit.slider("snapshot", { min: 0, max: epochs.length - 1, value: 0, show: (i) => `epoch ${epochs[i]}` }, (i) => { touched = true; go(i); });
    const play = h("button", { type: "button", class: "do", onclick: () => (timer ? pause() : run()) }, "play");
    const gallery = h("div", { class: "filters few" }), spread = h("figcaption", {}), alike = h("figcaption", {}), looks = h("figcaption", { class: "mono" });
    const maps = vit.mosaic(rows, cols, "Position similarity of this snapshot, a small map at each place", still);
    const cosine = vit.scale("cosine");
    cosine.classList.add("both");
    cosine.ends("−1", "1");
    const view = vit.picture({ src, rows, cols, alt: "Where the class token of this snapshot looks", still }), scale = vit.scale("weight of one patch");
    const deep = vit.slider("layer", { min: 1, max: layers, value: layers, show: (v) => `${v} of ${layers}` }, (v) => { layer = v - 1; draw(); });
    const attempt = h("p", { class: "try" }, h("b", {}, "Try:"), " guess before you play it. What takes shape first: the filters, the positions or the attention?");
    const plot = h("div", { class: "plot" }), proof = h("div", {});
    const part = (title, ...inside) => h("figure", {}, h("h3", {}, title), ...inside);
    stage.replaceChildren(whose ? line(`This model brings no snapshots of its training, so another one is shown as it learned: ${whose}. It sees your picture in its own way and knows its own classes.`) : "",
      line("Copies of the model, kept along its training, look at your picture. This is how the filters (Dosovitskiy et al. 2021, Fig. 7 left), the positions (centre) and the attention of the class token came to be."),
      h("div", { class: "tools" }, slider, play), told,
      h("div", { class: "three" }, part("what the filters look for", gallery, spread), part("whose position is like whose", maps.node, cosine, alike),
        part("where the class token looks", view.node, scale, looks, deep)), plot, attempt, proof, whose ? line("To watch your own: ", ...how()) : "");

    const pause = () => { clearInterval(timer); timer = null; play.textContent = "play"; };
    function run() {
      touched = true;
      if (at >= steps.length - 1) go(0);
      timer = setInterval(() => { if (!node.isConnected || at >= steps.length - 1) return pause(); go(at + 1); }, 700);
      play.textContent = "pause";
    }
    function go(index) {
      at = index;
      slider.put(index);
      draw();
    }

    let drawn = null;
    function draw() {
      const step = steps[at];
      if (!step?.filters) {
        drawn = null;
        told.textContent = step ? `Epoch ${step.epoch} cannot be shown: ${step.problem}.` : `Epoch ${epochs[at]} is on its way …`;
        return;
      }
      const values = step.seen.attention.subarray(layer * count, (layer + 1) * count), max = vit.peak(values);
      view.veil(values, max);
      scale.top(percent(max));
      const patch = still ? values.indexOf(max) : vit.active();
      looks.textContent = `CLS → patch ${patch}: ${percent(values[patch])}, mean of the heads`;
      if (drawn === at) return;
      drawn = at;  // what follows hangs on the snapshot alone, and is read aloud once
      const right = step.accuracy ? ` It was right on ${percent(step.accuracy[0])} of ${step.accuracy[1]}.` : "";
      told.textContent = `After epoch ${step.epoch} it says ${step.says}, ${percent(step.sure)}${step.says === label ? "" : `; ${label} has ${percent(step.p)}`}.${right}`;
      const [filters, , side] = step.seen.filters.shape, size = 3 * side * side;
      gallery.replaceChildren(...Array.from({ length: filters }, (_, i) => vit.bitmap(step.seen.filters.subarray(i * size, (i + 1) * size), side, side, `filter component ${i + 1}`)));
      spread.textContent = `principal components; the first ${Math.min(8, filters)} hold ${percent(step.explained)} of the variance`;
      if (step.seen.similarity) maps.paint(step.seen.similarity);
      maps.node.style.visibility = step.seen.similarity ? "" : "hidden";
      alike.textContent = `neighbours have cosine ${number(step.beside)} on average`;
      chart();
    }

    function chart() {
      const good = steps.filter((step) => step.filters), measured = good.filter((step) => step.accuracy?.[1] === good.at(-1).accuracy?.[1] && step.accuracy);
      const points = (list, value) => list.map((step) => ({ share: step.epoch, mean: value(step) }));
      plot.replaceChildren(vit.lines({ x: epochs, top: 1, unit: `epoch; sure of ${label} on this picture${measured.length ? `, and right on ${measured[0].accuracy[1]}` : ""}`, mark: steps[at].epoch, height: 110, along: Math.log1p,
        series: [{ name: `sure of ${label}`, points: points(good, (step) => step.p) }, ...(measured.length ? [{ name: "right", tone: "other", points: points(measured, (step) => step.accuracy[0]) }] : [])] }));
    }

    vit.follow(node, draw);
    return { add(reply) {
      reply.steps.slice(steps.length).forEach((step) => steps.push(step.filters ? { ...step, seen: { filters: vit.unpack(step.filters), attention: vit.unpack(step.attention), similarity: step.similarity && vit.unpack(step.similarity) } } : step));
      drawn = null;
      if (touched) draw(); else go(Math.max(0, steps.length - 1)); // while nobody has touched it, the film runs as it comes in
      if (reply.check && !checked) proof.append(checked = vit.check([reply.check]).node);
    } };
  }
};
