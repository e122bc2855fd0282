// The run: its curves, its last numbers and its settings.

import { chart, h, shown } from "./page.js";

const LINES = [
  ["train_neg_elbo", "relaxed", "relaxed"],
  ["train_neg_elbo_unrelaxed", "unrelaxed", "exact"],
  ["validation_neg_elbo", "validation", "validation"],
  ["test_neg_elbo", "test", "test"],
];

export function reportView(run) {
  const { metrics, settings } = run;
  // The first epoch begins at an untrained model, and would flatten the rest.
  const points = metrics.length > 3 ? metrics.slice(1) : metrics;
  const xs = points.map((m) => m.epoch);
  const every = Math.ceil(xs.length / 10);
  const lines = LINES.filter(([key, , kind]) => !(run.isExact && kind === "exact") && points.some((m) => m[key] != null))
    .map(([key, name, kind]) => ({ name: run.isExact && kind === "relaxed" ? "train" : name, kind, points: points.map((m) => [m.epoch, m[key] ?? NaN]) }));
  const plot = chart({ label: "Objectives over the epochs", xLabel: "epoch", xTicks: xs.filter((_, i) => i % every === 0), lines, height: 340 });
  const last = metrics.at(-1);
  const heldOut = [["validation −ELBO", "validation_neg_elbo"], ["test −ELBO", "test_neg_elbo"]].filter(([, key]) => last?.[key] != null);
  const facts = last && [
    ...heldOut.map(([name, key]) => [name, shown(last[key]), "nats"]), ["train", shown(last.train_neg_elbo), "nats"],
    ["step", shown(last.step_ms, 2), "ms"], ["steps", String(run.step), ""],
  ];
  return {
    root: h("div", { class: "columns" },
      h("div", {}, facts && h("dl", { class: "facts" }, facts.map(([name, value, unit]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, h("small", {}, ` ${unit}`))))),
        plot, h("p", { class: "hint" }, "Negative ELBO per image in nats, lower is better", metrics.length > 3 ? "; without the first epoch." : ".")),
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Settings of the run" },
        h("table", { class: "settings" }, h("caption", {}, "Settings"), h("tbody", {}, settings.map(([key, value]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, value))))))),
    update: () => {},
  };
}
