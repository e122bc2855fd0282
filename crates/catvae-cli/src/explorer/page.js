// Small helpers: elements, pictures, numbers, and work that leaves the page alive.

/** An element with attributes, listeners (`onclick`) and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A canvas of a model's image, to be painted on. */
export function picture([rows, cols], attributes = {}) {
  return h("canvas", { width: cols, height: rows, class: "picture", role: "img", ...attributes });
}

/** Paints values in [0, 1] as greys. */
export function paint(canvas, values) {
  const { width, height } = canvas;
  const data = new ImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const grey = Math.round(255 * Math.min(1, Math.max(0, values[i])));
    data.data.set([grey, grey, grey, 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}

/** A number with a true minus sign. */
export function shown(value, decimals = 2) {
  if (value == null || !Number.isFinite(value)) return "–";
  return value.toFixed(decimals).replace(/^-(?=.*[1-9])/, "−").replace(/^-/, "");
}

/** Runs a generator in short slices until it ends or `isStale()`; each `yield` may be the end of a slice. */
export async function inSlices(work, isStale) {
  let start = performance.now();
  for (const _ of work) {
    if (performance.now() - start < 12) continue;
    await new Promise((resolve) => setTimeout(resolve));
    if (isStale()) return;
    start = performance.now();
  }
}

/** A colour of the style sheet. */
export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Paints values in [0, 1], `(columns, rows)`, as cells. */
export function paintCells(canvas, values, nColumns, nRows, ink = "accent") {
  const size = Math.max(1, Math.min(12, Math.floor(1200 / nColumns)));
  canvas.width = nColumns * size;
  canvas.height = nRows * size;
  const context = canvas.getContext("2d");
  const gap = size > 4 ? 1 : 0;
  const [ground, full] = [color("cell"), color(ink)];
  for (let column = 0; column < nColumns; column++) {
    for (let row = 0; row < nRows; row++) {
      const box = [column * size, row * size, size - gap, size - gap];
      context.globalAlpha = 1;
      context.fillStyle = ground;
      context.fillRect(...box);
      context.globalAlpha = Math.sqrt(Math.min(1, values[column * nRows + row]));
      context.fillStyle = full;
      context.fillRect(...box);
    }
  }
}

/**
 * A chart of lines. `lines` have a name, a class and points [x, y]; `y` is clipped to what is finite.
 * `marker` is a vertical line at an x.
 */
export function chart({ lines, label, xLabel, xTicks, x = (v) => v, marker, width = 640, height = 300 }) {
  const [left, right, top, bottom] = [52, 132, 14, 42];
  const all = lines.flatMap((line) => line.points).filter(([, y]) => Number.isFinite(y));
  if (all.length === 0) return h("p", { class: "hint" }, "No numbers yet.");
  const xs = all.map(([v]) => x(v));
  const ys = all.map(([, v]) => v);
  let [low, high] = [Math.min(...ys), Math.max(...ys)];
  const pad = Math.max((high - low) * 0.08, 0.5);
  [low, high] = [low - pad, high + pad];
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  const px = (v) => left + ((x(v) - first) / (last - first || 1)) * (width - left - right);
  const py = (v) => top + ((high - v) / (high - low)) * (height - top - bottom);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": label });
  const step = [1, 2, 5, 10].map((f) => f * 10 ** Math.floor(Math.log10((high - low) / 4))).find((s) => (high - low) / s < 6);
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) {
    root.append(
      svg("line", { x1: left, x2: width - right, y1: py(tick), y2: py(tick), class: "grid" }),
      svg("text", { x: left - 8, y: py(tick) + 4, "text-anchor": "end" }, shown(tick, step < 1 ? 1 : 0)),
    );
  }
  for (const tick of xTicks) {
    root.append(svg("text", { x: px(tick), y: height - bottom + 20, "text-anchor": "middle" }, String(tick)));
  }
  root.append(svg("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, xLabel));
  if (marker != null) root.append(svg("line", { x1: px(marker), x2: px(marker), y1: top, y2: height - bottom, class: "marker" }));
  const ends = [];
  for (const { name, kind, points } of lines) {
    const finite = points.filter(([, y]) => Number.isFinite(y));
    if (finite.length === 0) continue;
    const path = finite.map(([a, b]) => `${px(a).toFixed(1)},${py(b).toFixed(1)}`).join(" ");
    root.append(svg("polyline", { points: path, class: `line ${kind}` }));
    if (finite.length < 30) for (const [a, b] of finite) root.append(svg("circle", { cx: px(a), cy: py(b), r: 2.5, class: `dot ${kind}` }));
    ends.push({ y: py(finite.at(-1)[1]), text: `${name} ${shown(finite.at(-1)[1], 1)}`, kind });
  }
  ends.sort((a, b) => a.y - b.y);
  ends.forEach((end, i) => {
    if (i > 0) end.y = Math.max(end.y, ends[i - 1].y + 16);
    root.append(svg("text", { x: width - right + 8, y: end.y + 4, class: `end ${end.kind}` }, end.text));
  });
  return root;
}
