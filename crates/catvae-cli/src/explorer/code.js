// The code as a strip of cells to flip, and the image that it decodes to.

import { h, paint, picture, shown } from "./page.js";
import { codeText, parsedCode } from "./state.js";

/** Categories of a latent that are shown as pictures. */
const MOST_PICTURES = 64;

/** A column of cells a latent; each cell is as dark as its category is probable. */
function strip(state, run) {
  const { nLatents, nCategories } = run.model;
  const height = Math.max(5, Math.min(18, Math.round(190 / nCategories)));
  const root = h("div", { class: "strip", style: `--cell-height: ${height}px`, "aria-label": "The code", role: "group" });
  const cells = [];
  const columns = [];
  for (let latent = 0; latent < nLatents; latent++) {
    const column = h("div", { class: "latent", role: "radiogroup", "aria-label": `choice ${latent}` });
    const ofLatent = [];
    for (let k = 0; k < nCategories; k++) {
      const cell = h("div", { class: "cell", role: "radio", "data-at": `${latent} ${k}` });
      column.append(cell);
      ofLatent.push(cell);
    }
    if (run.latents.latents[latent].information < 0.01) column.classList.add("dead");
    column.append(h("span", { class: "number", "aria-hidden": "true" }, latent));
    cells.push(ofLatent);
    columns.push(column);
    root.append(column);
  }
  // As many lines as needed, all about as long.
  new ResizeObserver(([{ contentRect: { width } }]) => {
    const fitting = Math.max(1, Math.floor(width / (width < 420 ? 27 : 18)));
    root.style.setProperty("--columns", Math.ceil(nLatents / Math.ceil(nLatents / fitting)));
  }).observe(root);
  const focus = (latent) => cells[latent][run.code[latent]].focus();
  root.addEventListener("click", (event) => {
    const cell = event.target.closest(".cell");
    if (!cell) return;
    const [latent, k] = cell.dataset.at.split(" ").map(Number);
    state.flip(run, latent, k);
    focus(latent);
  });
  root.addEventListener("keydown", (event) => {
    const cell = event.target.closest(".cell");
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const [latent, k] = cell.dataset.at.split(" ").map(Number);
    const to = (n) => {
      state.active = state.runs.indexOf(run);
      state.select((n + nLatents) % nLatents);
    };
    const flip = (n) => state.flip(run, latent, (n + nCategories) % nCategories);
    const digit = /^[0-9]$/.test(event.key) && Number(event.key) < nCategories ? () => flip(Number(event.key)) : null;
    const action = {
      ArrowLeft: () => to(latent - 1), ArrowRight: () => to(latent + 1), Home: () => to(0), End: () => to(nLatents - 1),
      ArrowUp: () => flip(k - 1), ArrowDown: () => flip(k + 1),
    }[event.key] ?? digit;
    if (!action) return;
    event.preventDefault();
    action();
    focus(state.latent);
  });
  const update = () => {
    const isHere = state.run === run;
    cells.forEach((ofLatent, latent) => {
      columns[latent].classList.toggle("selected", isHere && latent === state.latent);
      ofLatent.forEach((cell, k) => {
        const q = run.posterior[latent * nCategories + k];
        const isChosen = run.code[latent] === k;
        cell.style.setProperty("--q", `${Math.round(100 * Math.sqrt(q))}%`);
        cell.setAttribute("aria-checked", isChosen);
        cell.setAttribute("aria-label", `${k}, ${Math.round(100 * q)} %`);
        cell.tabIndex = isChosen && latent === Math.min(state.latent, nLatents - 1) ? 0 : -1;
        cell.title = `choice ${latent}, category ${k}: ${shown(100 * q, 1)} %`;
      });
    });
  };
  return { root, update };
}

/** All categories of the selected latent as pictures. */
function allCategories(state, run) {
  const { nCategories } = run.model;
  const title = h("h3", {});
  const list = h("div", { class: "options" });
  const n = Math.min(nCategories, MOST_PICTURES);
  const options = Array.from({ length: n }, () => {
    const canvas = picture(state.imageShape, { role: "presentation" });
    const text = h("span", {});
    const button = h("button", { class: "option" }, canvas, text);
    button.addEventListener("click", () => state.flip(run, state.latent, Number(button.dataset.category)));
    list.append(button);
    return { canvas, text, button };
  });
  const update = () => {
    const latent = Math.min(state.latent, run.model.nLatents - 1);
    const more = n < nCategories ? `the ${n} most probable of ${nCategories}` : n === 2 ? "both" : `all ${n}`;
    title.textContent = `Choice ${latent}: ${more} categories, the rest of the code unchanged`;
    const q = run.posterior.subarray(latent * nCategories, (latent + 1) * nCategories);
    let categories = Array.from(q.keys());
    if (n < nCategories) categories = categories.sort((a, b) => q[b] - q[a]).slice(0, n).sort((a, b) => a - b);
    options.forEach(({ canvas, text, button }, i) => {
      const k = categories[i];
      paint(canvas, run.model.imageOf(run.code.with(latent, k)));
      text.textContent = `${k} · ${Math.round(100 * q[k])} %`;
      button.dataset.category = k;
      button.setAttribute("aria-pressed", run.code[latent] === k);
      button.setAttribute("aria-label", `category ${k}, ${Math.round(100 * q[k])} percent`);
    });
  };
  return { root: h("div", { class: "categories" }, title, list), update };
}

export function codePanel(state, run, suffix) {
  const cells = strip(state, run);
  const categories = allCategories(state, run);
  const field = h("input", { class: "code-text", spellcheck: "false", autocomplete: "off", "aria-label": "The code as text: copy it, or paste another" });
  const told = h("output", { class: "hint" });
  const read = () => {
    const code = parsedCode(field.value, run.model);
    told.textContent = code ? "" : `not a code of ${run.model.nLatents} categories below ${run.model.nCategories}`;
    if (code) state.setCode(run, code);
  };
  field.addEventListener("change", read);
  field.addEventListener("paste", () => setTimeout(read));
  const copy = async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      document.execCommand("copy");
    }
    told.textContent = "copied";
  };
  const mode = () => {
    run.code = run.model.mostProbable(run.logits);
    run.isEdited = false;
    state.tell("code");
  };
  const { nLatents, nCategories } = run.model;
  const root = h("section", { class: "card code", "aria-labelledby": `code-title-${suffix}` },
    h("div", { class: "head" },
      h("h2", { id: `code-title-${suffix}` }, `${nLatents} choices of ${nCategories}`, suffix ? h("small", {}, ` ${run.name}`) : null),
      h("div", { class: "row" },
        h("button", { onclick: mode, title: "The most probable category of every choice" }, "Most probable"),
        h("button", { onclick: () => state.sample(run, false), title: "Draw a code from the posterior of the picture" }, "Sample"),
        h("button", { onclick: () => state.sample(run, true), title: "Draw a code from the prior: every category equally likely" }, "Invent"))),
    cells.root,
    h("p", { class: "hint" }, "Shade: how probable each category is for the picture. Click a cell, or focus one and use the arrow keys."),
    categories.root,
    h("div", { class: "row" }, field, h("button", { onclick: copy }, "Copy"), told));
  const update = () => {
    cells.update();
    categories.update();
    field.value = nCategories <= 10 ? JSON.stringify(run.code) : codeText(run);
    if (nCategories > 10) field.value = run.code.join(", ");
  };
  state.on("picture code latent", update);
  return root;
}

export function imagePanel(state, run, suffix) {
  const canvas = picture(state.imageShape, { class: "picture large", "aria-label": "Image of the code", id: `image${suffix}` });
  const unsure = picture(state.imageShape, { class: "picture small", "aria-label": "Standard deviation of each pixel over samples of the code" });
  const bar = { nll: h("span", { class: "nll" }), kl: h("span", { class: "kl" }) };
  const text = { elbo: h("strong", {}), nll: h("b", {}), kl: h("b", {}), code: h("b", {}), name: h("span", {}) };
  let run64 = 0;
  state.on("picture code", () => {
    const z = run.model.oneHot(run.code);
    paint(canvas, run.model.image(z));
    text.code.textContent = shown(run.model.nll(z, state.pixels), 1);
    text.name.textContent = run.isEdited ? "your code" : "most probable code";
  });
  state.on("picture", () => {
    clearTimeout(run64);
    run64 = setTimeout(() => state.uncertainty(run, ({ nll, deviation }) => {
      const kl = run.kl.reduce((a, b) => a + b, 0);
      run.terms = { nll, kl };
      paint(unsure, deviation.map((d) => 2 * d));
      text.elbo.textContent = shown(nll + kl, 1);
      text.nll.textContent = shown(nll, 1);
      text.kl.textContent = shown(kl, 1);
      bar.nll.style.flexGrow = Math.max(0, nll);
      bar.kl.style.flexGrow = kl;
      state.dispatchEvent(new Event("terms"));
    }), 40);
  });
  return h("section", { class: "card image", "aria-labelledby": `image-title-${suffix}` },
    h("h2", { id: `image-title-${suffix}` }, "Image of the code"),
    canvas,
    h("div", { class: "elbo" },
      h("div", { class: "total" }, text.elbo, " nats", h("span", { class: "hint" }, " −ELBO of the picture")),
      h("div", { class: "bar", "aria-hidden": "true" }, bar.nll, bar.kl),
      h("div", { class: "terms" }, h("span", { class: "key nll" }, text.nll, " reconstruction"), h("span", { class: "key kl" }, text.kl, " KL")),
      h("div", { class: "hint" }, text.code, " reconstruction with the ", text.name)),
    h("div", { class: "row seen" }, unsure, h("p", { class: "hint" }, "Uncertainty: where images of 64 sampled codes differ.")));
}
