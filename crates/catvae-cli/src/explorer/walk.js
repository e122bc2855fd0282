// A walk from the present code to that of another picture: one choice at a time, the most visible first.

import { h, paint, picture, shown } from "./page.js";

/** Images on the way are painted at most this often. */
const MOST_FRAMES = 64;

export function walkView(state, run) {
  const { model } = run;
  const goal = h("input", { type: "number", min: 0, max: state.images.n - 1, "aria-label": "Test image to walk to" });
  const scrubber = h("input", { type: "range", min: 0, "aria-label": "Step of the walk" });
  const large = picture(state.imageShape, { class: "picture large", "aria-label": "Image on the way" });
  const ends = ["from", "to"].map((name) => picture(state.imageShape, { class: "picture medium", "aria-label": `Image to walk ${name}` }));
  const text = h("p", { class: "gap" });
  const frames = h("div", { class: "frames" });
  const play = h("button", {}, "Play");
  let path = [];
  let timer = 0;

  const plan = () => {
    const { n, pixels } = state.images;
    const index = Math.min(n - 1, Math.max(0, Math.floor(Number(state.get("w", Math.min(n - 1, 3)))) || 0));
    goal.value = index;
    const values = Float32Array.from(pixels.subarray(index * model.nPixels, (index + 1) * model.nPixels), (byte) => byte / 255);
    const end = model.mostProbable(model.encode(values));
    const start = model.imageOf(run.code);
    const steps = end.flatMap((category, latent) => {
      if (category === run.code[latent]) return [];
      const image = model.imageOf(run.code.with(latent, category));
      return [{ latent, category, effect: image.reduce((sum, v, i) => sum + (v - start[i]) ** 2, 0) }];
    });
    steps.sort((a, b) => b.effect - a.effect);
    path = [{ code: run.code }];
    for (const step of steps) path.push({ ...step, code: path.at(-1).code.with(step.latent, step.category) });
    const every = Math.ceil(path.length / MOST_FRAMES);
    frames.replaceChildren(...path.flatMap(({ code }, i) => {
      if (i % every && i + 1 < path.length) return [];
      const canvas = paint(picture(state.imageShape, { role: "presentation" }), model.imageOf(code));
      return [h("button", { class: "option", "data-step": i, "aria-label": `step ${i}`, onclick: () => state.set("s", i) }, canvas)];
    }));
    scrubber.max = path.length - 1;
    paint(ends[0], start);
    paint(ends[1], model.imageOf(end));
  };
  const look = () => {
    const at = Math.min(path.length - 1, Math.max(0, Math.floor(Number(state.get("s", 0))) || 0));
    scrubber.value = at;
    const { code, latent, category } = path[at];
    paint(large, model.imageOf(code));
    text.textContent = path.length === 1 ? "Both have the same code: choose another picture."
      : at === 0 ? `${path.length - 1} of ${model.nLatents} choices differ.`
      : `Step ${at} of ${path.length - 1}: choice ${latent} becomes ${category}.`;
    for (const frame of frames.children) frame.setAttribute("aria-pressed", Number(frame.dataset.step) === at);
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  };
  play.addEventListener("click", () => {
    if (timer) return stop();
    play.textContent = "Stop";
    if (Number(scrubber.value) >= path.length - 1) state.set("s", 0);
    timer = setInterval(() => {
      const next = Number(scrubber.value) + 1;
      if (next >= path.length || !root.isConnected || root.closest("[hidden]")) return stop();
      state.set("s", next);
    }, 260);
  });
  scrubber.addEventListener("input", () => state.set("s", scrubber.value));
  goal.addEventListener("change", () => {
    state.settings.set("s", "0");
    state.set("w", Math.min(state.images.n - 1, Math.max(0, Math.floor(Number(goal.value)) || 0)));
  });
  const another = () => {
    state.settings.set("s", "0");
    state.set("w", Math.floor(Math.random() * state.images.n));
  };
  const root = h("div", { class: "columns walk" },
    h("div", {}, h("div", { class: "row" }, ends[0], h("span", { class: "arrow", "aria-hidden": "true" }, "→"), ends[1]),
      h("div", { class: "row" }, h("label", {}, "to the code of test image ", goal), h("button", { onclick: another }, "Any")),
      large),
    h("div", {}, text, h("div", { class: "row" }, play, h("label", { class: "wide" }, scrubber)), frames,
      h("p", { class: "hint" }, "From the code above, one choice at a time. What changes the image most comes first.")));
  let planned = null;
  return {
    root,
    update: () => {
      const key = `${run.code} ${state.get("w")}`;
      if (planned !== key) plan();
      planned = key;
      look();
    },
  };
}
