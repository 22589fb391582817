// The picture with its patch grid: one drawing for every place where a patch can be seen or chosen.
(() => {
  const { h } = vit;

  /**
   * picture({src, rows, cols, alt}) -> {node, veil(weights, max), tint(values, peak), ring(patches), show(src)}.
   * Pixels are crisp. Pointing shows a patch everywhere at once, a click or Enter keeps it, arrow keys walk. A still one
   * only shows: it has other patches than the page's, or is part of a button.
   */
  vit.picture = ({ src, rows, cols, alt, still = false, pick }) => {
    const image = h("image", { href: src, width: cols, height: rows, preserveAspectRatio: "none", class: "crisp" });
    const light = h("g", { class: "veil" });
    const colour = h("g", { class: "tint" }), rings = h("g", { class: "rings" });
    const lines = h("path", { class: "lines", d: gridPath(rows, cols) });
    const chosen = h("rect", { class: "chosen", width: 1, height: 1 });
    const pointed = h("rect", { class: "pointed", width: 1, height: 1 });
    const node = h("svg", {
      class: "picture", viewBox: `0 0 ${cols} ${rows}`, tabindex: still ? undefined : 0,
      role: still ? "img" : "application", "aria-roledescription": still ? undefined : "picture in patches",
      "aria-label": still ? alt : `${alt}. Cut into ${rows} by ${cols} patches: arrow keys walk, Escape goes back to the first${pick ? ", Enter takes a patch away or puts it back" : ""}.`,
    }, image, light, colour, lines, rings, pointed, chosen);

    if (still) chosen.style.display = pointed.style.display = "none";
    else walk();
    function walk() {
      const at = (event) => {
        const box = node.getBoundingClientRect();
        const column = Math.floor(((event.clientX - box.left) / box.width) * cols);
        const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
        return row >= 0 && row < rows && column >= 0 && column < cols ? row * cols + column : null;
      };
      node.addEventListener("pointermove", (event) => {
        const patch = at(event);
        if (event.pointerType === "mouse" && patch !== vit.state.hover) vit.set({ hover: patch });
      });
      node.addEventListener("pointerleave", () => vit.set({ hover: null }));
      node.addEventListener("click", (event) => {
        const patch = at(event);
        if (patch === null) return;
        vit.set({ patch, hover: null });
        pick?.(patch);
      });
      node.addEventListener("keydown", (event) => {
        const move = vit.arrow(event);
        if (event.key === "Escape") vit.set({ patch: 0, hover: null });
        if (pick && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); pick(vit.state.patch); }
        if (!move) return;
        const { row, column } = vit.where(vit.state.patch);
        const next = [(row + move[0] + rows) % rows, (column + move[1] + cols) % cols];
        vit.set({ patch: next[0] * cols + next[1], hover: null });
      });

      const put = (rect, patch) => {
        rect.style.display = patch === null ? "none" : "";
        if (patch !== null) { rect.setAttribute("x", patch % cols); rect.setAttribute("y", Math.floor(patch / cols)); }
      };
      vit.follow(node, (state) => {
        put(chosen, state.patch < rows * cols ? state.patch : null);
        put(pointed, state.hover !== null && state.hover !== state.patch && state.hover < rows * cols ? state.hover : null);
      });
    }

    /** Light, not paint: full weight leaves a patch as it is, no weight veils it towards the paper. */
    function veil(weights, max) {
      colour.replaceChildren();
      while (light.childNodes.length < rows * cols) {
        const i = light.childNodes.length;
        light.append(h("rect", { x: i % cols, y: Math.floor(i / cols), width: 1.01, height: 1.01 }));
      }
      light.childNodes.forEach((rect, i) => { rect.style.opacity = 0.86 * (1 - Math.min(1, weights[i] / (max || 1))); });
    }

    /** For is blue, against is vermilion, nothing is paper: a signed map laid over the picture. */
    function tint(values, peak) {
      veil(values.map((v) => 0.35 + 0.65 * Math.abs(v) / (peak || 1)), 1);
      colour.replaceChildren(...Array.from(values, (v, i) => h("rect", { x: i % cols, y: Math.floor(i / cols), width: 1.01, height: 1.01,
        class: v > 0 ? "for" : "against", style: `opacity:${0.6 * Math.abs(v) / (peak || 1)}` })));
    }
    /** Frames around patches, beside the one that is chosen. */
    const ring = (patches) => rings.replaceChildren(...patches.map((i) => h("rect", { x: (i % cols) + 0.06, y: Math.floor(i / cols) + 0.06, width: 0.88, height: 0.88 })));
    return { node, veil, tint, ring, show: (href) => image.setAttribute("href", href) };
  };

  function gridPath(rows, cols) {
    let d = "";
    for (let i = 1; i < rows; i++) d += `M0 ${i}H${cols}`;
    for (let i = 1; i < cols; i++) d += `M${i} 0V${rows}`;
    return d;
  }

  /** A small grid of weights (N) on a canvas: cells are as blue as they are heavy, as vermilion as they are below 0. */
  vit.thumb = (rows, cols, size = 8) => {
    const canvas = h("canvas", { class: "thumb", width: cols * size, height: rows * size, "aria-hidden": "true" });
    const pen = canvas.getContext("2d");
    canvas.paint = vit.repainted(canvas, (weights, max) => {
      pen.clearRect(0, 0, canvas.width, canvas.height);
      const ground = vit.tone("cell"), hue = vit.tone("strength"), below = vit.tone("against");
      for (let i = 0; i < rows * cols; i++) {
        const gap = size / 8, box = [(i % cols) * size + gap / 2, Math.floor(i / cols) * size + gap / 2, size - gap, size - gap];
        pen.globalAlpha = 1; pen.fillStyle = ground; pen.fillRect(...box);
        pen.globalAlpha = Math.min(1, Math.abs(weights[i]) / (max || 1)); pen.fillStyle = weights[i] < 0 ? below : hue; pen.fillRect(...box);
      }
    });
    return canvas;
  };

  /** Bytes (3,height,width), reds then greens then blues -> a crisp canvas. */
  vit.bitmap = (bytes, height, width, alt) => {
    const canvas = h("canvas", { width, height, class: "crisp bitmap", role: "img", "aria-label": alt });
    const pen = canvas.getContext("2d"), image = pen.createImageData(width, height), size = height * width;
    for (let i = 0; i < size; i++) image.data.set([bytes[i], bytes[size + i], bytes[2 * size + i], 255], 4 * i);
    pen.putImageData(image, 0, 0);
    return canvas;
  };

  /** Numbers of either sign -> bytes around a middle grey; `peak` is drawn at full strength. */
  vit.signed = (values, peak) => Uint8ClampedArray.from(values, (v) => 127.5 * (1 + v / (peak || 1)));

  /** The scale under a heat map: from 0 to max, with its unit. */
  vit.scale = (unit) => {
    const low = h("span", { class: "mono" }, "0"), top = h("span", { class: "mono" }, "");
    const node = h("div", { class: "scale" }, h("i", {}), h("div", {}, low, h("span", {}, unit), top));
    node.top = (text) => { top.textContent = text; };
    node.ends = (from, to) => { low.textContent = from; top.textContent = to; };
    return node;
  };

  /** A token is a strip of cells: the same picture of a vector wherever it appears. kind: patch, cls or position. */
  vit.strip = (values, { kind = "patch", cells = Math.min(values.length, 192), max, label } = {}) => {
    const canvas = h("canvas", { class: `strip ${kind}`, width: cells, height: 1, role: "img", "aria-label": label ?? "a vector, drawn as a strip of cells" });
    let painted = false;
    canvas.paint = vit.repainted(canvas, (vector, top) => {
      const pen = canvas.getContext("2d");
      painted = true;
      const up = vit.tone("strength"), down = vit.tone("against");
      const peak = top || vit.peak(vector) || 1;
      pen.clearRect(0, 0, cells, 1);
      for (let i = 0; i < cells; i++) {
        const value = vector[Math.floor((i * vector.length) / cells)] / peak;
        pen.globalAlpha = Math.min(1, Math.abs(value)); pen.fillStyle = value > 0 ? up : down; pen.fillRect(i, 0, 1, 1);
      }
    });
    requestAnimationFrame(() => { if (!painted) canvas.paint(values, max); });
    return canvas;
  };

  /** From where on a strip of tokens has its full colour: the same in every chapter that draws these tokens. */
  vit.full = (tokens) => 0.6 * vit.peak(tokens);
})();
