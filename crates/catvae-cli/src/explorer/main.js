// Reads what the page carries, builds the models and lays out the views.

import { Model, unpack } from "./network.js";
import { h, shown } from "./page.js";
import { State } from "./state.js";
import { drawPanel } from "./draw.js";
import { codePanel, imagePanel } from "./code.js";
import { latentsView } from "./latents.js";
import { temperatureView } from "./temperature.js";
import { walkView } from "./walk.js";
import { reportView } from "./report.js";

const VIEWS = [["latents", "Choices", latentsView], ["temperature", "Temperature", temperatureView], ["walk", "Walk", walkView], ["run", "Run", (_, run) => reportView(run)]];
const THEMES = ["auto", "light", "dark"];

async function read(id) {
  const data = JSON.parse(document.getElementById(id).textContent);
  document.getElementById(id).remove();
  for (const run of data.runs) run.model = new Model(run.model, await unpack(run.weights));
  data.images.pixels = await unpack(data.images.pixels);
  data.runs.forEach((run) => delete run.weights);
  return data;
}

function tabs(state) {
  const built = new Map();
  const panel = h("div", { role: "tabpanel", id: "panel", tabindex: -1 });
  const current = () => Math.max(0, VIEWS.findIndex(([key]) => key === state.get("v")));
  const buttons = VIEWS.map(([key, name], i) =>
    h("button", { role: "tab", id: `tab-${key}`, "aria-controls": "panel", onclick: () => state.set("v", VIEWS[i][0]) }, name));
  const list = h("div", { role: "tablist", "aria-label": "Views" }, buttons);
  list.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    const next = (current() + by + VIEWS.length) % VIEWS.length;
    state.set("v", VIEWS[next][0]);
    buttons[next].focus();
  });
  const chooser = h("div", { class: "row", role: "group", "aria-label": "Run of this view" }, state.runs.map((run, i) =>
    h("button", { "data-run": i, onclick: () => { state.active = i; state.tell("latent"); } }, run.name)));
  const look = (what) => {
    const [key, , make] = VIEWS[current()];
    const id = `${key} ${state.active}`;
    const isNew = !built.has(id);
    if (isNew) built.set(id, make(state, state.run));
    const view = built.get(id);
    const isOther = panel.firstChild !== view.root;
    if (isOther) panel.replaceChildren(view.root);
    panel.setAttribute("aria-labelledby", `tab-${key}`);
    buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", i === current());
      button.tabIndex = i === current() ? 0 : -1;
    });
    for (const button of chooser.children) button.setAttribute("aria-pressed", Number(button.dataset.run) === state.active);
    view.update(isNew || isOther ? "picture" : what);
  };
  for (const what of ["picture", "code", "latent", "setting"]) state.on(what, () => look(what));
  return [h("div", { class: "head views" }, list, state.runs.length > 1 ? chooser : null), panel];
}

function themeButton(state) {
  const button = h("button", { class: "theme" });
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[theme];
    button.setAttribute("aria-label", `Colours: ${theme}. Change`);
    state.dispatchEvent(new Event("theme"));
  };
  const current = () => (THEMES.includes(state.get("theme")) ? state.get("theme") : "auto");
  button.addEventListener("click", () => {
    state.set("theme", THEMES[(THEMES.indexOf(current()) + 1) % THEMES.length]);
    apply(current());
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(current()));
  apply(current());
  return button;
}

/** The choice to begin with: the one that knows most about the image. */
function mostTelling({ latents: { latents } }) {
  return latents.reduce((best, latent, i) => (latent.information > latents[best].information ? i : best), 0);
}

async function start() {
  const { runs, images } = await read("data");
  const state = new State(runs, images);
  const parts = State.address();
  if (parts.has("theme")) state.settings.set("theme", parts.get("theme"));
  if (parts.has("centre")) state.settings.set("centre", parts.get("centre"));
  const { panel, restore } = drawPanel(state);
  const about = (run) => {
    const last = (key) => run.metrics.findLast((m) => m[key] != null)?.[key];
    const parts = ["test", "validation"].map((part) => [part, last(`${part}_neg_elbo`)]).filter(([, elbo]) => elbo != null);
    return [h("b", {}, run.name), ` ${run.summary}`, parts.map(([part, elbo]) => ` · ${part} −ELBO ${shown(elbo, 1)} nats`).join("")];
  };
  document.body.prepend(
    h("header", {},
      h("div", {}, h("h1", {}, "What it learnt"), runs.map((run) => h("p", {}, about(run))),
        h("p", { class: "hint" }, "Draw, or take a test image: the encoder makes choices. Flip one, and the image follows.")),
      themeButton(state)),
    h("main", {},
      h("div", { class: "bench" }, panel, runs.map((run, i) => {
        const suffix = runs.length > 1 ? `-${i}` : "";
        return h("div", { class: "pair" }, codePanel(state, run, suffix), imagePanel(state, run, suffix));
      })),
      h("section", { class: "card lower", "aria-label": "More" }, tabs(state))),
    h("footer", {}, "One file, nothing is loaded or sent. Made by ", h("code", {}, "catvae explore"), "."));
  if (!parts.has("l")) parts.set("l", mostTelling(runs[0]));
  state.restore(parts, restore);
  globalThis.addEventListener("hashchange", () => state.restore(State.address(), restore));
  document.documentElement.dataset.ready = Math.round(performance.now());
  globalThis.explorer = state;
}

start().catch((error) => {
  document.body.prepend(h("p", { class: "failed" }, `This page needs a browser of 2023 or newer (${error.message}).`));
});
