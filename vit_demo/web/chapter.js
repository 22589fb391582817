// The ribbon (the map of the model) and the frame that every chapter is shown in.
(() => {
  const { h } = vit;

  vit.ribbon = (element, props, trigger, watch) => {
    addEventListener("popstate", () => { const back = +new URL(location.href).searchParams.get("chapter"); if (back) vit.goTo(trigger, back, true); });
    const draw = () => {
      const ribbon = props.value;
      if (!ribbon) return;
      vit.address({ chapter: ribbon.chapter });
      const list = h("nav", { class: "vit ribbon", "aria-label": "the model, station by station" }, h("h1", { class: "unseen" }, "ViT Demo"),
        h("button", { type: "button", class: "skip", onclick: () => document.querySelector(".chapter h2")?.focus() }, "to the chapter"), h("ol", {},
        ...ribbon.stations.map(([name, shape], index) => h("li", {}, h("button", { type: "button", "data-chapter": index + 1, "data-key": `chapter-${index}`,
          "aria-current": index + 1 === ribbon.chapter ? "step" : undefined, onclick: () => vit.goTo(trigger, index + 1) },
          h("b", {}, name), h("span", { class: "mono" }, shape))))));
      vit.roving([...list.querySelectorAll("li button")], ribbon.chapter - 1);
      vit.replace(element, list);
      const lit = list.querySelector("[aria-current]");
      if (lit) list.scrollLeft = lit.offsetLeft - list.clientWidth / 2 + lit.clientWidth / 2;
    };
    watch("value", () => { draw(); vit.steps.free(); });
    draw();
  };

  let serial = 0, leaving = null; // a question to be stopped as soon as the server has taken it up: before that it has no name to stop it by
  const PATIENCE = 5000; // what is asked next waits for that, or the stop would meet it instead; where no reply comes, so long, and what was left runs to its end
  const afterLeaving = (next) => {
    if (!leaving) { next(); return; }
    leaving.next = next;
    leaving.timer = setTimeout(left, PATIENCE);
  };
  const left = () => {
    const { timer, next } = leaving;
    clearTimeout(timer);
    leaving = null;
    next?.();
  };
  vit.chapter = (element, props, trigger, watch) => {
    let current = null;
    const place = h("div"), told = h("p", { class: "unseen", role: "status" }); // what stays is read aloud when it changes
    element.replaceChildren(place, told);
    const draw = () => {
      const scene = props.value;
      if (!scene || !scene.view) return;
      const card = h("div", { class: "card" });
      const share = h("span", { role: "status" }), busy = h("div", { class: "busy", hidden: true }, h("div", {}, share, h("button", { type: "button", onclick: () => {
        frame.stop();
        card.querySelectorAll(".progress").forEach((bar) => bar.at(1));
        card.dispatchEvent(new Event("stopped"));
      } }, "stop")));
      const check = vit.check([scene.check, ...(scene.also ?? [])].filter(Boolean));
      const root = h("article", { class: "vit chapter", "data-number": scene.number },
        h("p", { class: "eyebrow" }, `Chapter ${scene.number} of ${scene.of}`),
        h("h2", { tabindex: -1 }, scene.title),
        markup("p", "story", scene.story), card, busy,
        scene.equation ? markup("div", "equation mono", scene.equation) : null,
        scene.attempt ? markup("p", "try", `<b>Try:</b> ${scene.attempt}`) : null,
        check.node,
        h("nav", { class: "onward", "aria-label": "chapters" },
          scene.before ? h("button", { type: "button", onclick: () => vit.goTo(trigger, scene.number - 1) }, `‹ ${scene.before}`) : h("span", {}),
          scene.after ? h("button", { type: "button", class: "next", onclick: () => vit.goTo(trigger, scene.number + 1) }, `${scene.after} ›`) : h("span", {})));
      const moved = current !== null && current !== scene.number;
      current = scene.number;
      vit.frame?.stop();
      const frame = vit.frame = {
        root,
        serial: ++serial,
        /** Fill the numbers in the text that hang on the chosen patch, layer or head. */
        say: (live) => {
          for (const [name, text] of Object.entries(live)) root.querySelectorAll(`[data-live="${name}"]`).forEach((node) => { node.textContent = text; });
          const story = root.querySelector(".story"), tall = story.offsetHeight; // once it took another line it keeps it, or what is being moved below would jump
          if (tall > (parseFloat(story.style.minHeight) || 0)) story.style.minHeight = `${tall}px`;
        },
        recode: check.recode,
        /** Ask the server for what is computed only when wanted; `hear` gets each answer, bit by bit. */
        ask: (question, hear) => frame.line.ask({ question: { ...question, chapter: scene.number, serial: frame.serial, id: ++serial }, hear }),
        stop: () => {
          frame.line.forget();
          if (!frame.line.busy) return;
          const stop = () => trigger("stop", {});
          if (frame.asked.begun) stop();
          else if (!leaving) leaving = { id: frame.asked.question.id, stop };
          else { clearTimeout(leaving.timer); leaving.next = null; } // it was not sent yet
          frame.asked = null;
          frame.line.free();
        },
        line: vit.line((wish) => { frame.asked = wish; afterLeaving(() => trigger("ask", wish.question)); }, 600000, (waiting) => { busy.hidden = !waiting; }, 900, ({ question }) => question.what),
        /** How far the work is that the server does just now; above a second it can be stopped. */
        progress: (part) => { share.textContent = part > 0 && part < 1 ? `working, ${vit.percent(part)}` : "working …"; },
        asked: null,
      };
      place.replaceChildren(root);
      vit.views[scene.view](card, scene.data, frame);
      if (moved) {
        const lost = document.activeElement === document.body, { top } = root.getBoundingClientRect();
        if (lost) root.querySelector("h2").focus({ preventScroll: true });
        told.textContent = lost ? "" : `Chapter ${scene.number}: ${scene.title}`; // a title that takes the focus is read anyway
        if (top < 0 || top > innerHeight / 2) root.scrollIntoView({ block: "start" });
      }
    };
    watch("value", draw);
    draw();
  };

  vit.reply = (element, props, trigger, watch) => watch("value", () => {
    const answer = props.value, frame = vit.frame;
    if (answer && answer.id === leaving?.id) { leaving.stop(); left(); }
    if (!answer || answer.serial !== frame?.serial || answer.id !== frame.asked?.question.id) return;
    frame.asked.begun = true;
    frame.progress(answer.progress);
    if (!answer.empty) frame.asked.hear(answer);
    if (answer.done) frame.line.free();
  });

  /** What the server told last about something that is chosen, as `open` reads it: `here`. want(wish) asks anew where that is of another
      choice, and once for each; `heard` is called when it has come. */
  vit.kept = (frame, what, first, open, heard) => {
    let wanted = first;
    const kept = { here: open(first), want: (wish) => {
      const same = (told) => Object.entries(wish).every(([name, value]) => told[name] === value);
      if (same(kept.here) || (same(wanted) && frame.line.busy)) return;
      wanted = wish;
      frame.ask({ what, ...wish }, (reply) => { kept.here = open(reply); heard(); });
    } };
    return kept;
  };

  /** How far work is, from 0 to 1; there it hides. */
  vit.bar = (share = 0) => {
    const fill = h("i"), node = h("div", { class: "progress" }, fill);
    node.at = (part) => { node.style.visibility = part < 1 ? "visible" : "hidden"; fill.style.width = `${100 * part}%`; };
    node.at(share);
    return node;
  };

  /** Our own sentences, written on the server with every label escaped there. */
  function markup(tag, name, html) {
    const node = h(tag, { class: name });
    node.innerHTML = html;
    return node;
  }

  /** Copies a node's text; where a page may not, as over plain http, what can be copied is selected. -> whether it was */
  async function copied(node) {
    try {
      await navigator.clipboard.writeText(node.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(node);
      return document.execCommand("copy");
    }
  }

  /**
   * Code that reproduces shown numbers, folded away. recode(index, "layer, head = 2, 1", says) puts in what the reader has chosen
   * since: the line that begins with the same names is replaced, and what the number is said to be.
   */
  vit.check = (several) => {
    const parts = several.map(({ code, says }) => {
      const told = h("p", { class: "quiet" }, says), lines = h("code", {}, code);
      const copy = h("button", { type: "button", onclick: async () => {
        copy.textContent = (await copied(lines)) ? "copied" : "press Ctrl+C";
        setTimeout(() => { copy.textContent = "copy"; }, 2000);
      } }, "copy");
      return { told, lines, node: [told, h("div", { class: "code" }, copy, h("pre", { tabindex: 0 }, lines))] };
    });
    function recode(index, line, says) {
      const { told, lines } = parts[index], names = line.slice(0, line.indexOf("=") + 1);
      const code = lines.textContent.split("\n").map((old) => (old.startsWith(names) ? line : old)).join("\n");
      if (lines.textContent !== code) lines.textContent = code;
      if (told.textContent !== says) told.textContent = says;
    }
    return { node: h("details", { class: "check", hidden: !parts.length }, h("summary", {}, "Check it yourself"), ...parts.flatMap((part) => part.node)), recode };
  };
})();
