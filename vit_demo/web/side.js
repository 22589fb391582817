// Left, always there: the picture with its grid, the answer, the bars, the samples.
(() => {
  const { h, percent } = vit;

  vit.side = (element, props, trigger, watch) => {
    const verdicts = {}, place = h("div"), told = h("p", { class: "unseen", role: "status" }); // what stays is read aloud when it changes
    element.replaceChildren(place, told);
    const draw = () => {
      const side = props.value;
      if (!side || !side.rows) return;
      vit.setGrid(side.rows, side.cols);
      vit.address({ sample: side.sample });
      if (side.sample !== null && side.right !== null) (verdicts[side.model] ??= {})[side.sample] = side.right;
      vit.replace(place, h("div", { class: "vit side" }, picture(side), answer(side), samples(side, verdicts[side.model] ?? {}, trigger)));
      told.textContent = best(side);
    };
    watch("value", draw);
    draw();
  };

  const best = ({ top: [[label, p]] }) => `${vit.named(label)}, ${percent(p)}`;

  function picture(side) {
    const caption = h("p", { class: "caption mono", "aria-live": "polite" });
    const view = vit.picture({ src: side.src, rows: side.rows, cols: side.cols, alt: side.alt });
    vit.follow(caption, () => { caption.textContent = vit.where(vit.active()).text; });
    return h("figure", { class: "seen" }, view.node, h("figcaption", {}, caption));
  }

  function answer(side) {
    const bars = h("ol", { class: "bars", "aria-label": "most probable classes", style: `--label: clamp(66px, ${0.9 * Math.max(...side.top.map(([label]) => label.length))}ch, 45%)` });
    const most = side.top.length;
    const draw = (k) => bars.replaceChildren(...side.top.slice(0, k).map(([label, p]) => h("li", {},
      h("span", { class: "label", title: label }, label),
      h("span", { class: "bar" }, h("i", { style: `width:${Math.max(0.5, 100 * p)}%` })),
      h("span", { class: "mono" }, percent(p)))));
    const box = h("div", { class: "answer" },
      h("p", { class: "best" }, best(side)),
      h("p", { class: "quiet" }, ...side.note.map(([text, tone]) => h("span", { class: tone }, text))),
      bars,
      vit.slider("show", { min: 1, max: most, value: Math.min(vit.state.k, most), show: (k) => `top ${k}` }, (k) => { vit.state.k = k; draw(k); }));
    draw(Math.min(vit.state.k, most));
    return box;
  }

  function samples(side, verdicts, trigger) {
    const box = h("div", { class: "samples", role: "group", "aria-label": "sample pictures with their true labels" },
      ...side.samples.map(({ src, label }, index) => {
        const verdict = verdicts[index];
        return h("button", { type: "button", "data-sample": index, "data-key": `sample-${index}`, "aria-pressed": index === side.sample ? "true" : "false",
          title: label, "aria-label": `sample ${index}, true label ${label}${verdict === undefined ? "" : verdict ? ", the model is right" : ", the model is wrong"}`,
          onclick: () => vit.steps.ask([trigger, { sample: index }]) },
          h("img", { src, alt: "", width: 32, height: 32 }), verdict === undefined ? null : h("span", { class: verdict ? "" : "wrong", "aria-hidden": "true" }, verdict ? "✓" : "✗"));
      }),
      h("button", { type: "button", class: "own", title: "your own", "data-key": "own", "aria-label": "a picture of your own", onclick: () => document.querySelector("#upload input[type=file]")?.click() },
        h("b", { "aria-hidden": "true" }, "+")));
    vit.roving([...box.children], side.sample ?? 0);
    requestAnimationFrame(() => { // on a phone they are one row, which begins anew where it was drawn anew
      const row = box.getBoundingClientRect(), chosen = box.children[side.sample ?? side.samples.length].getBoundingClientRect();
      box.scrollLeft += chosen.left + chosen.width / 2 - row.left - row.width / 2;
    });
    return box;
  }
})();
