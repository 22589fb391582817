// Small charts: lines over a few points, with a scale that says its unit. SVG, no library. shares: x goes from 0 to 1. along: how far right a value of x lies.
vit.lines = ({ x, series, top, bottom = 0, unit, progress = 1, format = vit.percent, height = 120, mark, level, shares = false, along = (v) => v }) => {
  const { h } = vit, W = innerWidth > 560 ? 420 : 310, H = height, left = 44; // narrower where the screen is, so that words stay readable
  const letter = 7, dashed = level ? level.name.split(/ (.*)/).filter(Boolean) : []; // a level's name stands on two lines, broken at its first space
  const longest = Math.max(...[...series.map(({ name }) => name), ...dashed].map(vit.room)), right = Math.min(Math.max(90, 10 + letter * longest), 0.4 * W);
  const most = Math.floor((right - 8) / letter), brief = (name) => { let free = most - 1; return vit.room(name) > most ? `${[...name].filter((c) => (free -= vit.room(c)) >= 0).join("")}…` : name; };
  const last = x[x.length - 1], first = x[0];
  const px = (v) => left + ((W - left - right) * (along(v) - along(first))) / (along(last) - along(first) || 1);
  const py = (v) => 8 + (H - 16) * (1 - (v - bottom) / (top - bottom || 1));
  const marks = [bottom, (top + bottom) / 2, top].map((v) => h("g", {}, h("line", { class: "tick", x1: left, x2: W - right, y1: py(v), y2: py(v) }),
    h("text", { x: left - 6, y: py(v) + 4, "text-anchor": "end" }, format(v))));
  // Names at the ends of lines keep a line's height apart.
  const ends = series.map(({ name, points }, i) => ({ i, name, y: points.length ? py(points.at(-1).mean ?? points.at(-1)) : -99, tall: 13 })).filter((end) => end.name);
  if (level) ends.push({ i: "level", y: py(level.at), tall: 13 * dashed.length });
  ends.sort((a, b) => a.y - b.y);
  ends.forEach((end, i) => { if (i) end.y = Math.max(end.y, ends[i - 1].y + ends[i - 1].tall); });
  for (let i = ends.length - 1, floor = H + 9; i >= 0; i--) { floor -= ends[i].tall; ends[i].y = Math.min(ends[i].y, floor); }
  const labelY = Object.fromEntries(ends.map(({ i, y }) => [i, y]));
  const drawn = series.map(({ name, points, tone = "strength" }, index) => {
    const at = points.map((p, i) => [px(p.share ?? x[i]), py(p.mean ?? p)]);
    const end = at[at.length - 1];
    return h("g", { class: `line ${tone}` },
      ...points.map((p, i) => (p.low === undefined ? null : h("line", { class: "spread", x1: at[i][0], x2: at[i][0], y1: py(p.low), y2: py(p.high) }))),
      h("polyline", { points: at.map((a) => a.join(",")).join(" ") }), ...at.map(([a, b]) => h("circle", { cx: a, cy: b, r: 2.5 })),
      end && name ? h("text", { x: end[0] + 8, y: labelY[index] + 4 }, brief(name)) : null);
  });
  const ticks = shares ? [0, 0.25, 0.5, 0.75, 1] : x.filter((_, i) => i % Math.ceil(x.length / 7) === 0);
  const labels = ticks.map((v) => h("text", { x: px(v), y: H + 10, "text-anchor": "middle" }, shares ? vit.percent(v) : v));
  const text = series.map((s) => `${s.name}: ${s.points.map((p) => format(p.mean ?? p)).join(", ")}`).join("; ");
  return h("figure", {}, h("svg", { class: "chart", viewBox: `0 0 ${W} ${H + 16}`, role: "img", "aria-label": `${unit}. ${text}` }, ...marks, ...labels,
    mark === undefined ? null : h("line", { class: "now", x1: px(mark), x2: px(mark), y1: 8, y2: H - 8 }),
    level ? h("g", {}, h("line", { class: "level", x1: left, x2: W - right, y1: py(level.at), y2: py(level.at) }), dashed.map((text, i) => h("text", { x: W - right + 8, y: labelY.level + 4 + 13 * i }, brief(text)))) : null, ...drawn),
    h("figcaption", {}, unit + (progress < 1 ? " …" : "")));
};

/** Room that a line of text takes, in Latin letters: what is written in squares, as Chinese, Japanese, Korean and emoji are, takes two. */
vit.room = (text) => [...text].reduce((sum, letter) => sum + (/[\p{scx=Hani}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}\p{Emoji_Presentation}\uff01-\uff60]/u.test(letter) ? 2 : 1), 0);

/** A number at an axis. */
vit.tick = (v) => vit.number(v, v % 1 ? 1 : 0);

/** The next round number above, whose half is round too: where an axis ends. */
vit.nice = (most) => {
  const unit = 10 ** Math.floor(Math.log10(most || 1));
  return unit * [1, 2, 4, 6, 8, 10].find((n) => n * unit >= most);
};

/** A bar from the middle: to the right and blue above 0, to the left and vermilion below, all of its half at the peak. */
vit.both = (v, peak) => vit.h("span", { class: "both" }, vit.h("i", { class: v < 0 ? "minus" : "", style: `width:${(50 * Math.abs(v)) / peak}%;${v < 0 ? "right:50%" : "left:50%"}` }));
