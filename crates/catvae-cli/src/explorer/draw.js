// The picture: drawn by hand and centred as MNIST's digits are, or one of the test images.

import { h, paint, picture } from "./page.js";

/** Points along a stroke are kept in thousandths of the pad's width, and written in base 36. */
const UNIT = 1000;
/** Radius of the pen in a 28 x 28 image, in pixels. */
const PEN = 1.15;
/** Share of the side that MNIST's digits fill. */
const FILLED = 20 / 28;

/** Ink at each pixel: 1 within the pen's radius of a stroke, and a soft edge of one pixel. */
function ink(strokes, [rows, cols], place) {
  const values = new Float32Array(rows * cols);
  const radius = Math.max(0.8, (PEN * Math.max(rows, cols)) / 28);
  for (const stroke of strokes) {
    const points = stroke.map(place);
    points.forEach((b, i) => {
      const a = points[Math.max(0, i - 1)];
      const reach = radius + 1;
      const [top, bottom] = [Math.min(a[1], b[1]) - reach, Math.max(a[1], b[1]) + reach];
      const [left, right] = [Math.min(a[0], b[0]) - reach, Math.max(a[0], b[0]) + reach];
      for (let y = Math.max(0, Math.floor(top)); y < Math.min(rows, bottom); y++) {
        for (let x = Math.max(0, Math.floor(left)); x < Math.min(cols, right); x++) {
          const covered = radius + 0.5 - distance([x + 0.5, y + 0.5], a, b);
          values[y * cols + x] = Math.max(values[y * cols + x], Math.min(1, covered));
        }
      }
    });
  }
  return values;
}

function distance(p, a, b) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = dx * dx + dy * dy;
  const t = length > 0 ? Math.min(1, Math.max(0, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length)) : 0;
  return Math.hypot(p[0] - a[0] - t * dx, p[1] - a[1] - t * dy);
}

/** MNIST's way: the drawing fills 20 of 28 pixels, and its centre of mass lies in the middle. */
function centred(strokes, shape) {
  const [rows, cols] = shape;
  const all = strokes.flat();
  const [xs, ys] = [all.map((p) => p[0]), all.map((p) => p[1])];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const pen = 2 * PEN * (Math.max(rows, cols) / 28);
  const room = FILLED * Math.min(rows, cols) - pen;
  const scale = room / Math.max(right - left, bottom - top, 0.15 * UNIT);
  const placed = (shift) => (p) => [(p[0] - left) * scale + shift[0], (p[1] - top) * scale + shift[1]];
  const start = [(cols - (right - left) * scale) / 2, (rows - (bottom - top) * scale) / 2];
  const values = ink(strokes, shape, placed(start));
  let [mass, mx, my] = [0, 0, 0];
  values.forEach((v, i) => {
    mass += v;
    mx += v * ((i % cols) + 0.5);
    my += v * (Math.floor(i / cols) + 0.5);
  });
  const shift = [start[0] + cols / 2 - mx / mass, start[1] + rows / 2 - my / mass];
  return ink(strokes, shape, placed(shift));
}

export function drawPanel(state) {
  const [rows, cols] = state.imageShape;
  const pad = h("canvas", {
    class: "pad", tabindex: 0, role: "application", width: 560, height: Math.round((560 * rows) / cols),
    "aria-label": "Drawing pad. With the keyboard: arrow keys move the pen, space puts it down and lifts it.",
  });
  const seen = picture(state.imageShape, { class: "picture small", "aria-label": "The picture as the model sees it" });
  const number = h("input", { type: "number", min: 0, max: state.images.n - 1, "aria-label": "Number of the test image" });
  const label = h("output", { class: "hint" });
  const centre = h("input", { type: "checkbox", id: "centre" });
  centre.checked = state.get("centre", "1") === "1";
  let strokes = [];
  let pen = null;

  const look = () => {
    const place = (p) => [(p[0] * cols) / UNIT, (p[1] * cols) / UNIT];
    let values = centre.checked && strokes.length ? centred(strokes, state.imageShape) : ink(strokes, state.imageShape, place);
    if (state.images.binarized) values = values.map((v) => (v >= 0.5 ? 1 : 0));
    const drawing = strokes.map((s) => s.flat().map((v) => v.toString(36)).join(".")).join("_");
    state.show(values, { drawing });
  };
  const restore = (text) => {
    const read = text.split("_").filter(Boolean).map((stroke) => {
      const numbers = stroke.split(".").map((v) => parseInt(v, 36));
      return numbers.length % 2 ? [] : numbers.flatMap((x, i) => (i % 2 ? [] : [[x, numbers[i + 1]]]));
    });
    const fits = read.every((stroke) => stroke.length && stroke.flat().every((v) => v >= 0 && v <= 50 * UNIT));
    if (!fits) return false;
    strokes = read;
    look();
    return true;
  };
  const clear = () => {
    strokes = [];
    look();
  };

  const repaint = () => {
    const context = pad.getContext("2d");
    context.imageSmoothingEnabled = false;
    paint(seen, state.pixels);
    context.fillStyle = "#000";
    context.fillRect(0, 0, pad.width, pad.height);
    if (state.source.test != null) {
      context.drawImage(seen, 0, 0, pad.width, pad.height);
      number.value = state.source.test;
    }
    const scale = pad.width / UNIT;
    Object.assign(context, { strokeStyle: "#fff", lineCap: "round", lineJoin: "round", lineWidth: (2 * PEN * 560) / 28 });
    for (const stroke of state.source.test != null ? [] : strokes) {
      context.beginPath();
      for (const [x, y] of [stroke[0], ...stroke]) context.lineTo(x * scale, y * scale);
      context.stroke();
    }
    if (pen) {
      context.fillStyle = pen.isDown ? "#d55e00" : "#56b4e9";
      context.beginPath();
      context.arc(pen.at[0] * scale, pen.at[1] * scale, 9, 0, 7);
      context.fill();
    }
    const name = state.images.labels && state.source.test != null ? `, label ${state.images.labels[state.source.test]}` : "";
    label.textContent = state.source.test != null ? `test image ${state.source.test}${name}` : strokes.length ? "your drawing" : "draw here";
  };

  const begin = (point) => {
    if (state.source.test != null) strokes = [];
    strokes.push([point]);
    look();
  };
  const extend = (point) => {
    const stroke = strokes.at(-1);
    if (Math.hypot(point[0] - stroke.at(-1)[0], point[1] - stroke.at(-1)[1]) < 12) return;
    stroke.push(point);
    look();
  };
  const at = (event) => {
    const box = pad.getBoundingClientRect();
    const clamp = (v) => Math.round(Math.min(UNIT * Math.max(1, rows / cols), Math.max(0, v)));
    return [clamp(((event.clientX - box.left) / box.width) * UNIT), clamp(((event.clientY - box.top) / box.width) * UNIT)];
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    pen = null;
    begin(at(event));
    event.preventDefault();
  });
  pad.addEventListener("pointermove", (event) => pad.hasPointerCapture(event.pointerId) && extend(at(event)));
  const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  pad.addEventListener("keydown", (event) => {
    if (event.key !== " " && !MOVES[event.key]) return;
    event.preventDefault();
    pen ??= { at: [UNIT / 2, Math.round((UNIT * rows) / cols / 2)], isDown: false };
    if (event.key === " ") {
      pen.isDown = !pen.isDown;
      if (pen.isDown) begin(pen.at);
    } else {
      const step = event.shiftKey ? 80 : 25;
      const limit = [UNIT, (UNIT * rows) / cols];
      pen.at = pen.at.map((v, i) => Math.round(Math.min(limit[i], Math.max(0, v + step * MOVES[event.key][i]))));
      if (pen.isDown) extend(pen.at);
    }
    repaint();
  });
  pad.addEventListener("blur", () => {
    pen = null;
    repaint();
  });
  centre.addEventListener("change", () => {
    state.set("centre", centre.checked ? 1 : 0);
    if (state.source.test == null) look();
  });
  number.addEventListener("change", () => state.showTest(Math.floor(Number(number.value)) || 0));
  const step = (by) => () => state.showTest((state.source.test ?? 0) + by);
  state.on("picture", repaint);

  const panel = h("section", { class: "card draw", "aria-labelledby": "draw-title" },
    h("h2", { id: "draw-title" }, "Picture"),
    pad,
    h("div", { class: "row" },
      h("button", { onclick: clear, id: "clear" }, "Clear"),
      h("button", { onclick: step(-1), "aria-label": "Previous test image" }, "‹"), number,
      h("button", { onclick: step(1), "aria-label": "Next test image", id: "next" }, "›"),
      h("button", { onclick: () => state.showTest(Math.floor(Math.random() * state.images.n)) }, "Any")),
    h("div", { class: "row seen" }, seen,
      h("div", {}, label, h("label", { class: "check" }, centre, " centre drawings as MNIST does"))),
  );
  return { panel, restore };
}
