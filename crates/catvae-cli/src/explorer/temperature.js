// The temperature: one noise, the relaxed code and the exact one, and the gap between their objectives over τ.

import { chart, h, inSlices, paint, paintCells, picture, shown } from "./page.js";
import { gumbels, softmaxRows } from "./network.js";
import { DRAWS } from "./state.js";

const LEAST = 0.05;
const MOST = 10;
const GRID = Array.from({ length: 17 }, (_, i) => LEAST * (MOST / LEAST) ** (i / 16));

/** Means of −ln p(x|z) over draws: exact, and relaxed at each temperature, with the same noise for all. */
function* objectives(run, pixels, taus, told) {
  const { model, logits } = run;
  const sums = taus.map(() => 0);
  let exact = 0;
  for (let draw = 1; draw <= DRAWS; draw++) {
    const noisy = gumbels(model.width, 1000 + draw).map((g, i) => g + logits[i]);
    exact += model.nll(model.oneHot(model.mostProbable(noisy)), pixels);
    for (let i = 0; i < taus.length; i++) {
      sums[i] += model.nll(softmaxRows(noisy, model.nCategories, taus[i]), pixels);
      yield;
    }
    told({ draws: draw, exact: exact / draw, relaxed: sums.map((s) => s / draw) });
  }
}

export function temperatureView(state, run) {
  const slider = h("input", { type: "range", min: 0, max: 1000, id: `tau-${run.name}`, "aria-label": "Temperature τ" });
  const tauText = h("output", { class: "tau" });
  const gapText = h("p", { class: "gap" });
  const plot = h("div", { class: "plot" });
  const sides = ["relaxed", "exact"].map((name) => ({
    name,
    cells: h("canvas", { class: "heat", role: "img", "aria-label": `The ${name} code` }),
    image: picture(state.imageShape, { class: "picture medium", "aria-label": `Image of the ${name} code` }),
  }));
  let seed = 1;
  let curve = null;
  const tau = () => {
    const value = Number(state.get("t", 1));
    return value >= LEAST && value <= MOST ? value : 1;
  };

  const look = () => {
    const { model, logits } = run;
    const noisy = gumbels(model.width, seed).map((g, i) => g + logits[i]);
    const codes = [softmaxRows(noisy, model.nCategories, tau()), model.oneHot(model.mostProbable(noisy))];
    sides.forEach(({ cells, image }, i) => {
      paintCells(cells, codes[i], model.nLatents, model.nCategories, i ? "ink" : "accent");
      paint(image, model.image(codes[i]));
    });
    tauText.textContent = `τ = ${shown(tau())}`;
    slider.value = (1000 * Math.log(tau() / LEAST)) / Math.log(MOST / LEAST);
    slider.setAttribute("aria-valuetext", tauText.textContent);
  };
  const drawCurve = () => {
    if (!curve) return;
    plot.replaceChildren(chart({
      label: "Reconstruction term over the temperature", xLabel: "temperature τ", x: Math.log,
      xTicks: [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10], marker: tau(), height: 270,
      lines: [
        { name: "relaxed", kind: "relaxed", points: GRID.map((t, i) => [t, curve.relaxed[i]]) },
        { name: "exact", kind: "exact", points: GRID.map((t) => [t, curve.exact]) },
      ],
    }));
  };
  let job = 0;
  const measure = async () => {
    const mine = ++job;
    const { logits } = run;
    const isStale = () => mine !== job || run.logits !== logits;
    const one = objectives(run, state.pixels, [tau()], ({ draws, exact, relaxed: [relaxed] }) => {
      run.gap = { tau: tau(), exact, relaxed, draws };
      gapText.replaceChildren(
        h("strong", {}, shown(exact - relaxed, 1)), " nats is the gap: relaxed codes reconstruct this picture with ",
        h("b", { class: "relaxed" }, shown(relaxed, 1)), ", exact ones with ", h("b", { class: "exact" }, shown(exact, 1)),
        `, mean of ${draws} draws.`);
    });
    await inSlices(one, isStale);
    if (isStale() || (curve?.logits === logits && curve.draws === DRAWS)) return drawCurve();
    const grid = objectives(run, state.pixels, GRID, (found) => {
      curve = { ...found, logits };
      if (found.draws % 8 === 0 || found.draws === 1) drawCurve();
    });
    await inSlices(grid, isStale);
  };

  slider.addEventListener("input", () => state.set("t", shown(LEAST * (MOST / LEAST) ** (slider.value / 1000), 3)));
  const again = () => {
    seed += 1;
    look();
  };
  state.on("theme", () => run.logits && look());
  const root = h("div", { class: "columns" },
    h("div", {},
      h("div", { class: "row" }, h("label", { class: "wide" }, tauText, slider), h("button", { onclick: again }, "New noise")),
      sides.map(({ name, cells, image }) => h("div", { class: "side" }, h("div", {}, h("h3", {}, name === "exact" ? "Exact: the largest of logits plus noise" : "Relaxed: a softmax of the same, over τ"), cells), image))),
    h("div", {}, h("h3", {}, "What training sees, and what counts"), gapText, plot,
      h("p", { class: "hint" }, "Reconstruction term of this picture in nats, lower is better. Training on relaxed codes minimises the first curve; evaluation uses exact codes.")));
  return {
    root,
    update: (what) => {
      if (what === "code" || what === "latent") return;
      look();
      drawCurve();
      measure();
    },
  };
}
