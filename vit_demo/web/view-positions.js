// Whose position is like whose? N maps of N cosines each, laid out as the places they belong to.
(() => {
  const { h, number } = vit;
  const ROUNDING = 16 * 2 ** -23; // of float32
  const SIDE = 840; // canvas pixels; shown smaller, so that it stays sharp on fine screens

  /** mosaic(rows, cols, alt, still) -> {node, paint(cosines (N,N))}. Pointing and walking are those of every picture. */
  vit.mosaic = (rows, cols, alt, still = false) => {
    const step = Math.max(2, Math.floor(SIDE / (Math.max(rows, cols) * (Math.max(rows, cols) + 1))));
    const tile = [(cols + 1) * step, (rows + 1) * step], canvas = h("canvas", { width: cols * tile[0], height: rows * tile[1] });
    const small = h("canvas", { width: cols * cols, height: rows * rows });
    const view = vit.picture({ src: "", rows, cols, alt, still });
    view.node.classList.add("mosaic");
    const paint = vit.repainted(view.node, (cosines) => {
      const ground = vit.rgb("cell"), up = vit.rgb("strength"), down = vit.rgb("against");
      const image = small.getContext("2d").createImageData(small.width, small.height), count = rows * cols;
      for (let place = 0; place < count; place++) for (let other = 0; other < count; other++) {
        const v = cosines[place * count + other], hue = v < 0 ? down : up, share = Math.min(1, Math.abs(v));
        const x = (place % cols) * cols + (other % cols), y = Math.floor(place / cols) * rows + Math.floor(other / cols);
        image.data.set([...ground.map((c, k) => c + (hue[k] - c) * share), 255], 4 * (y * small.width + x));
      }
      small.getContext("2d").putImageData(image, 0, 0);
      const pen = canvas.getContext("2d");
      pen.imageSmoothingEnabled = false;
      for (let place = 0; place < count; place++) {
        const c = place % cols, r = Math.floor(place / cols);
        pen.drawImage(small, c * cols, r * rows, cols, rows, c * tile[0] + step / 2, r * tile[1] + step / 2, cols * step, rows * step);
      }
      view.show(canvas.toDataURL());
    });
    return { node: view.node, paint };
  };

  /** cosines(data) -> how alike the position of a place is to all others (N), from what was sent; as explain/positions.py. */
  function cosines({ rows, cols, width, similarity }, positions) {
    const count = rows * cols, all = similarity && vit.unpack(similarity);
    if (all) return { all, of: (place) => all.subarray(place * count, (place + 1) * count) };
    const given = (place) => positions.subarray((place + 1) * width, (place + 2) * width), shared = new Float64Array(width);
    for (let place = 0; place < count; place++) given(place).forEach((v, i) => { shared[i] += v / count; });
    const own = Array.from({ length: count }, (_, place) => Float64Array.from(given(place), (v, i) => v - shared[i]));
    const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
    const length = (vector) => Math.sqrt(dot(vector, vector));
    const lengths = own.map((vector, place) => (length(vector) > ROUNDING * length(given(place)) ? length(vector) : Infinity)); // like no other: 0
    return { all, of: (place) => Float32Array.from({ length: count }, (_, other) => dot(own[place], own[other]) / (lengths[place] * lengths[other])) };
  }

  /** One map, large, in parts: the cosines of a place with all others, in words those with some, and with the one pointed at. */
  function enlarged() {
    const scale = vit.scale("cosine"), text = h("figcaption", { class: "mono" }), pointed = h("figcaption", { class: "mono" });
    scale.classList.add("both");
    scale.ends("−1", "1");
    const mark = h("i", { class: "mark" }), box = h("div", { class: "marked-map" }, mark);
    let now = {};
    function paint(row, place, rows, cols) {
      const count = rows * cols, [r, c] = [Math.floor(place / cols), place % cols];
      if (now.rows !== rows || now.cols !== cols) {
        const map = vit.thumb(rows, cols, Math.max(2, Math.min(32, Math.floor(SIDE / Math.max(rows, cols)))));
        map.classList.add("large");
        box.replaceChildren(map, mark);
      }
      now = { row, rows, cols };
      box.firstChild.paint(row, 1);
      Object.assign(mark.style, { left: `${(100 * c) / cols}%`, top: `${(100 * r) / rows}%`, width: `${100 / cols}%`, height: `${100 / rows}%` });
      const corner = (r < rows / 2 ? count - cols : 0) + (c < cols / 2 ? cols - 1 : 0);
      text.textContent = [cols > 1 && `beside ${number(row[c + 1 < cols ? place + 1 : place - 1])}`, rows > 1 && `above or below ${number(row[r + 1 < rows ? place + cols : place - cols])}`,
        corner !== place && `far corner ${number(row[corner])}`].filter(Boolean).join(" · ");
    }
    box.addEventListener("pointermove", (event) => {
      const area = box.getBoundingClientRect(), { row, rows, cols } = now;
      const [c, r] = [Math.floor(((event.clientX - area.left) / area.width) * cols), Math.floor(((event.clientY - area.top) / area.height) * rows)];
      if (c >= 0 && c < cols && r >= 0 && r < rows) pointed.textContent = `to row ${r}, column ${c}: ${number(row[r * cols + c])}`;
    });
    box.addEventListener("pointerleave", () => { pointed.textContent = ""; });
    return { parts: [box, scale, text, pointed], paint };
  }

  /** Chapter 4: the mosaic, and one map of it enlarged. */
  vit.positions = (data, vectors) => {
    const { rows, cols } = data, count = rows * cols, { all, of } = cosines(data, vectors);
    const title = h("h3", { "aria-live": "polite" }), large = enlarged();
    let shown = null;
    function draw() {
      const place = vit.active();
      if (place === shown || place >= count) return;
      shown = place;
      const { row, column } = vit.where(place);
      large.paint(of(place), place, rows, cols);
      title.textContent = `the position of patch ${place}, row ${row}, column ${column}`;
    }
    const whole = all ? vit.mosaic(rows, cols, "Position similarity: at each place a small map of how alike its position vector is to that of every place") : null;
    whole?.paint(all);
    const node = h("div", { class: "below" }, h("h3", {}, "Whose position is like whose? (Dosovitskiy et al. 2021, Fig. 7 centre)"),
      h("p", { class: "quiet" }, whole ? `${count} small maps, each lying where its patch lies: how alike is its position vector to that of every place, once what they all share is taken out? Point at one, or tap it, to see it large.`
        : `${count} maps of ${count} cells are too many to draw at once: here is the one of the chosen patch. What all position vectors share is taken out.`),
      h("div", { class: "wide-row" }, whole ? h("figure", {}, whole.node) : null, h("figure", {}, title, large.parts)));
    vit.follow(node, draw);
    return node;
  };

  /** Below: the same positions, interpolated by the server for a picture of another size, seen from where the chosen patch lies. */
  vit.resized = ({ sizes, own, now }, frame) => {
    const opened = (reply) => ({ ...reply, cosines: vit.unpack(reply.cosines) });
    const kept = vit.kept(frame, "resize", now, opened, () => draw());
    let at = sizes.findIndex(({ size }) => size === now.size), drawn = null;
    const map = enlarged(), title = h("h3"), says = h("p", { "aria-live": "polite" });
    const slider = vit.slider("picture size", { min: 0, max: sizes.length - 1, value: at, show: (i) => `${sizes[i].text}${i === own ? ", its own" : ""}` }, (i) => { at = i; draw(); });
    slider.querySelector("input").setAttribute("list", "own-size");
    slider.append(h("datalist", { id: "own-size" }, h("option", { value: own })));

    function draw() {
      kept.want({ size: sizes[at].size, patch: vit.state.patch }); // of a patch when it is chosen, not when it is pointed at
      if (drawn === kept.here) return;
      drawn = kept.here;
      const { grid: [rows, cols], place, patch, cosines } = drawn;
      map.paint(cosines, place, rows, cols);
      title.textContent = `where patch ${patch} lies, row ${Math.floor(place / cols)}, column ${place % cols}`;
      if (says.textContent !== drawn.says) says.textContent = drawn.says;
      frame.recode(1, `rows, cols = ${rows}, ${cols}  # the new grid`, drawn.check);
    }
    const node = h("div", { class: "below resized" }, h("h3", {}, "And for a picture of another size?"),
      h("div", { class: "wide-row" }, h("div", {}, h("p", { class: "quiet" }, "It is cut into more or fewer patches of the same side, and for those places no position was learned. Fine-tuning at "
        + "another size therefore begins with the grid of position vectors interpolated, bicubically (Dosovitskiy et al. 2021, section 3.2). What all share is taken out here as above."), slider, says),
      h("figure", {}, title, map.parts)));
    vit.follow(node, draw);
    return node;
  };
})();
