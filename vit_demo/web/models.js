// Which model answers, and how far another one is.
(() => {
  const { h } = vit;

  /** One line above the picture. Its parts stay where they are, so that only what changes is read aloud. */
  vit.answering = (element, props, trigger, watch) => {
    const text = h("span", { role: "status" }), newer = h("span", {}), bar = h("progress", { max: 1, "aria-label": "loaded" });
    const open = h("button", { type: "button", class: "link", onclick: () => trigger("select", {}) }, "open it");
    const offer = h("span", { class: "newer" }, " A newer version is on the Hub: ", newer, ". ", open);
    element.replaceChildren(h("div", { class: "vit quiet answering" }, h("p", {}, text, offer), bar));
    let model = null;
    const draw = () => {
      const said = props.value ?? {};
      if (model && said.model !== model) document.querySelector("#left").scrollTo({ top: 0 });  // where it says that another one answers
      model = said.model;
      if (text.textContent !== said.text) text.textContent = said.text ?? "";
      text.className = said.tone ?? "";
      offer.hidden = !said.newer;
      newer.textContent = said.newer ?? "";
      progress(bar, said.share);
    };
    watch("value", draw);
    draw();
  };

  /** The model that a visitor asked for, while it comes; it lies over the foot of the left column, wherever that is scrolled to. */
  vit.loading = (element, props, trigger, watch) => {
    const name = h("b", {}), step = h("span", { class: "step" }), problem = h("p", { class: "bad", role: "alert" }), bar = h("progress", { max: 1, "aria-label": "loaded" });
    const button = h("button", { type: "button", class: "stop", onclick: () => {
      gone = props.value.turn;  // what is still on its way of this load is not shown
      if (!props.value.problem) trigger("stop", {});
      draw();
    } });
    let gone = null;
    const box = h("div", { class: "vit loading" }, h("p", { role: "status" }, name), h("p", { class: "quiet" }, step), bar, problem, button);
    element.replaceChildren(box);
    const draw = () => {
      const { source, step: doing, share, problem: wrong, turn } = props.value ?? {};
      box.hidden = !source || turn === gone;
      const title = !source ? "" : wrong ? "That did not work" : `Loading ${source}`;
      if (name.textContent !== title) name.textContent = title;
      step.textContent = wrong ? "" : doing ?? "";
      if (problem.textContent !== (wrong ?? "")) problem.textContent = wrong ?? "";
      button.textContent = wrong ? "close" : "stop";
      progress(bar, wrong ? null : share);
    };
    watch("value", draw);
    draw();
  };

  function progress(bar, share) {
    bar.hidden = share === null || share === undefined;
    if (!bar.hidden) bar.value = share;
  }
})();
