// What every view shares: the chosen patch, layer and head; small helpers. No library.
const vit = (() => {
  const asked = new URLSearchParams(location.search);
  /** What the address asks for, from `least` on; null where that makes no sense. As Visit.from_address in looks.py. */
  const whole = (name, least, most = 999) => { const text = asked.get(name) ?? ""; return /^\d{1,4}$/.test(text) && +text >= least && +text <= most ? +text : null; };
  const [layer, head] = [whole("layer", 1), whole("head", 1)];
  let linked = whole("patch", 0, 9999); // the address's patch, held within each grid until the visitor chooses one
  const state = { patch: null, picked: false, hover: null, layer: (layer ?? 1) - 1, head: (head ?? 1) - 1, chosen: layer !== null || head !== null, after: whole("after", 0), k: 5, grid: null };
  const followers = new Set();
  const SVG = new Set(["svg", "g", "rect", "path", "image", "text", "line", "circle", "polyline", "title"]);

  /** Build an element. Text given as a child stays text: nothing a label says can become markup. */
  function h(tag, attributes = {}, ...children) {
    const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  }

  /** Draw now and at each change of the state, for as long as the node is on the page: it is put there when all of it is built. */
  function follow(node, draw) {
    const follower = { node, draw, seen: false };
    followers.add(follower);
    queueMicrotask(() => { follower.seen ||= node.isConnected; });
    draw(state);
  }

  function set(change) {
    if ("patch" in change && !change.grid) { state.picked = true; linked = null; }
    Object.assign(state, change);
    for (const follower of [...followers]) {
      follower.seen ||= follower.node.isConnected;
      if (follower.seen && !follower.node.isConnected) followers.delete(follower);
      else follower.draw(state);
    }
    address();
  }

  /** The patch that is looked at: the one pointed at, else the chosen one. */
  const active = () => state.hover ?? state.patch;

  /** The same grid keeps the chosen patch; in another one a patch above the middle is chosen. What shows the grid before is about to be replaced: it is not drawn again. */
  function setGrid(rows, cols) {
    if (state.grid?.rows === rows && state.grid.cols === cols) return;
    followers.clear();
    const patch = linked === null ? Math.floor(rows * 0.3) * cols + Math.floor(cols / 2) : Math.min(linked, rows * cols - 1);
    set({ grid: { rows, cols }, hover: null, patch, picked: linked !== null });
  }

  function where(patch) {
    const { rows, cols } = state.grid;
    const row = Math.floor(patch / cols), column = patch % cols;
    return { row, column, token: patch + 1, text: `patch ${patch} · row ${row}, column ${column} · token ${patch + 1}`, rows, cols };
  }

  /** The address names sample, chapter and, once chosen, patch, layer and head, and after which layer chapter 6 reads, so that a link shows the same thing again. A chapter is a step that the
      browser's back button takes back. */
  let place = {}, stepping = null, again = null;
  function address(change) {
    let step = false;
    if (change?.chapter !== undefined && stepping !== null) {
      if (change.chapter !== stepping) return; // on the way to the one that was clicked
      step = stepping !== place.chapter;
      stepping = null;
    }
    Object.assign(place, change);
    const url = new URL(location.href);
    const named = { ...place, patch: state.picked ? state.patch : null, layer: state.chosen ? state.layer + 1 : null, head: state.chosen ? state.head + 1 : null, after: state.after };
    for (const [name, value] of Object.entries(named)) {
      if (value === null || value === undefined) url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    clearTimeout(again);
    if (url.href === location.href) return;
    try { history[step ? "pushState" : "replaceState"](history.state, "", url); } catch {} // a held arrow key: browsers take some hundred changes in a while
    if (url.href !== location.href) again = setTimeout(address, 1000);
  }

  /** Tensors come as base64 of little-endian numbers with their shape; u8 and u16 are shares of `scale`. */
  const kinds = { f32: Float32Array, u16: Uint16Array, u8: Uint8Array };
  function unpack({ kind, data, scale = 1, offset = 0, shape }) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const raw = new kinds[kind](bytes.buffer);
    const top = { u16: 65535, u8: 255 }[kind];
    const values = top ? Float32Array.from(raw, (v) => offset + (v / top) * scale) : raw;
    values.shape = shape;
    return values;
  }

  /** A colour of the page by its name in style.css, for canvases: "strength" -> "#0072B2", or its [r, g, b]. */
  const tone = (name) => getComputedStyle(document.querySelector(".gradio-container")).getPropertyValue(`--${name}`).trim();
  const rgb = (name) => [1, 3, 5].map((i) => parseInt(tone(name).slice(i, i + 2), 16));

  let watched = false;
  /** paint, to be called as it is. What it painted last it paints again on the node when the page turns dark or light. */
  function repainted(node, paint) {
    let last = null;
    node.classList.add("painted");
    node.repaint = () => { if (last) paint(...last); };
    if (!watched) new MutationObserver(() => document.querySelectorAll(".painted").forEach((painted) => painted.repaint()))
      .observe(document.body, { attributes: true, attributeFilter: ["class"] });
    watched = true;
    return (...given) => { last = given; paint(...given); };
  }

  /** As percent in chapters/scene.py: 100 % is for what is all but certain. */
  const percent = (p) => {
    const value = 100 * p, digits = value >= 9.95 && value < 99.5 ? 0 : 1;
    return value >= 99.95 ? "100\u00a0%" : value >= 0.05 ? `${value.toFixed(digits)}\u00a0%` : value > 0 ? "<\u00a00.1\u00a0%" : "0\u00a0%";
  };
  /** The largest of them, sign aside: of as many as there are, which a call with an argument for each cannot take. */
  const peak = (values) => values.reduce((top, v) => Math.max(top, Math.abs(v)), 0);
  const number = (x, digits = 2) => { const text = x.toFixed(digits); return text.replace("-", +text ? "−" : ""); };
  /** In a sum or a product: negative numbers in brackets. */
  const term = (x, digits = 2) => { const text = number(x, digits); return text.startsWith("−") ? `(${text})` : text; };
  /** A label beside a number: one that is written from the right keeps to itself. */
  const named = (label) => (/[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFC]/.test(label) ? `\u2068${label}\u2069` : label);
  /** A token by its name. */
  const who = (token) => (token ? `patch ${token - 1}` : "CLS");
  const a = (label) => `${/^[aeiou]/i.test(label) ? "an" : "a"} ${label}`;

  /** The arrow key that was pressed, as [rows, columns] to go; null for another one, and where the browser itself is meant, as by Alt and left. */
  function arrow(event) {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return null;
    event.preventDefault();
    return step;
  }

  /** A segmented choice that works by mouse and by arrow keys. */
  function choice(label, options, chosen, pick) {
    const group = h("div", { class: "choice", role: "radiogroup", "aria-label": label });
    options.forEach((text, index) => group.append(h("button", {
      type: "button", role: "radio", "aria-checked": index === chosen ? "true" : "false", tabindex: index === chosen ? 0 : -1,
      onclick: () => select(index),
      onkeydown: (event) => {
        const step = arrow(event);
        if (step) select((index + step[0] + step[1] + options.length) % options.length);
      } }, text)));
    function mark(index) {
      [...group.children].forEach((button, i) => {
        button.setAttribute("aria-checked", i === index ? "true" : "false");
        button.tabIndex = i === index ? 0 : -1;
      });
    }
    function select(index) { mark(index); group.children[index].focus(); pick(index); }
    group.mark = mark;
    return group;
  }

  /** A labelled slider with its value beside it. put(value) moves it without telling of a change. */
  function slider(label, { min, max, step = 1, value, show = String }, change) {
    const output = h("output", { class: "mono" });
    const input = h("input", { type: "range", min, max, step, oninput: () => { tell(); change(+input.value); } });
    const tell = () => { output.textContent = show(+input.value); input.setAttribute("aria-valuetext", show(+input.value)); };
    const node = h("label", { class: "slider" }, h("span", {}, label), input, output);
    node.put = (to) => { input.value = to; tell(); };
    node.put(value);
    return node;
  }

  /** Put new content in place; the keyboard stays where it was, found again by its data-key. */
  function replace(element, node) {
    const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    element.replaceChildren(node);
    if (key) node.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
  }

  /** Of many things side by side, one is in the tab order; arrow keys go on to the others. */
  function roving(things, start = 0) {
    let at = start;
    things.forEach((thing, i) => {
      thing.tabIndex = i === at ? 0 : -1;
      thing.addEventListener("focus", () => { things[at].tabIndex = -1; at = i; thing.tabIndex = 0; });
      thing.addEventListener("keydown", (event) => {
        const step = arrow(event), across = things.filter((other) => other.offsetTop === things[0].offsetTop).length;
        if (step) things[i + step[0] * across + step[1]]?.focus();
      });
    });
  }

  /** One thing at a time is asked of the server; while it works, only the newest wish of each kind waits. */
  function line(send, patience = 20000, shown = () => {}, soon = 250, kind = () => "") {
    const next = new Map();
    let busy = false, timer = null, patient = null;
    const go = (wish) => {
      busy = true;
      clearTimeout(timer);
      timer = setTimeout(free, patience);
      patient = setTimeout(() => shown(true), soon);
      send(wish);
    };
    function free() {
      clearTimeout(timer);
      clearTimeout(patient);
      shown(false);
      busy = false;
      const [first] = next;
      if (!first) return;
      next.delete(first[0]);
      go(first[1]);
    }
    const wait = (wish) => { next.delete(kind(wish)); next.set(kind(wish), wish); };
    return { ask: (wish) => { if (busy) wait(wish); else go(wish); }, free, forget: () => next.clear(), get busy() { return busy; } };
  }
  /** All that changes the place (sample, chapter) goes through here, with the layer and head that are looked at, once chosen: the
      ribbon's answer says that it has happened. */
  const steps = line(([trigger, where]) => trigger("select", state.chosen ? { ...where, layer: state.layer, head: state.head } : where), 20000,
    (waiting) => document.querySelector("#ribbon")?.classList.toggle("waiting", waiting), 250, ([, where]) => Object.keys(where)[0]);
  /** To another chapter: by a click, which the back button takes back, or by that button itself. */
  function goTo(trigger, chapter, back = false) {
    stepping = back ? null : chapter;
    if (back) place.chapter = chapter;
    steps.ask([trigger, { chapter }]);
  }

  const views = { nothing: () => {} };
  return { state, set, follow, active, setGrid, where, address, unpack, tone, rgb, repainted, peak, percent, number, term, named, who, a, arrow, choice, slider, replace, roving, line, steps, goTo, h, views };
})();
window.vit = vit;
