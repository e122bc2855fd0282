// Every latent as a row of a table to sort, what it draws, and what the latents say about each other.

import { h, inSlices, paint, paintCells, picture, shown } from "./page.js";

const COLUMNS = [
  ["choice", (_, i) => i, "number of the latent"],
  ["use", (latent) => Math.max(...latent.usage), "share of each category over the test images; sorts by the largest"],
  ["perplexity", (latent) => latent.perplexity, "how many categories are in use"],
  ["KL", (latent) => latent.kl, "from the posterior to the uniform prior, nats"],
  ["entropy", (latent) => latent.entropy, "of the posterior, nats: how unsure the choice is"],
  ["I(z; image)", (latent) => latent.information, "mutual information with the image, nats"],
  ["I(z; label)", (latent) => latent.label_information, "mutual information with the label, nats"],
];
const EXAMPLES = 8;
/** Categories that have a line; the most used. */
const LINES_AT_MOST = 32;

export function latentsView(state, run) {
  const { latents, information_between: between, n_images } = run.latents;
  const body = h("tbody");
  const heads = COLUMNS.map(([name, , title], c) => {
    const button = h("button", { title, onclick: () => state.set("sort", state.get("sort") === `-${c}` ? c : `-${c}`) }, name);
    return h("th", { scope: "col" }, button);
  });
  const rows = latents.map((latent, i) => {
    const use = h("span", { class: "use", role: "img", "aria-label": latent.usage.map((q) => `${Math.round(100 * q)} %`).join(", ") });
    const most = Math.max(...latent.usage);
    for (const q of latent.usage) use.append(h("i", { style: `height: ${Math.round((100 * q) / most)}%` }));
    const open = h("button", { onclick: () => state.select(i) }, i);
    const numbers = COLUMNS.slice(2).map(([, value], c) => h("td", {}, shown(value(latent), c === 0 ? 2 : 3)));
    const row = h("tr", { class: latent.information < 0.01 ? "dead" : "" }, h("td", {}, open), h("td", {}, use), numbers);
    row.addEventListener("click", () => state.select(i));
    return row;
  });
  const sort = () => {
    const key = state.get("sort", "-5");
    const column = Math.min(COLUMNS.length - 1, Math.abs(Number(key)) || 0);
    const sign = key.startsWith("-") ? -1 : 1;
    const value = (i) => COLUMNS[column][1](latents[i], i) ?? -1;
    const order = latents.map((_, i) => i).sort((a, b) => sign * (value(a) - value(b)) || a - b);
    body.append(...order.map((i) => rows[i]));
    heads.forEach((head, c) => {
      if (c === column) head.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };

  const title = h("h3", {});
  const examples = h("div", { class: "examples" });
  const byCategory = async () => {
    const { n, pixels } = state.images;
    const size = run.model.nPixels;
    run.testCodes ??= [];
    const work = function* () {
      for (let i = run.testCodes.length; i < n; i++) {
        const values = Float32Array.from(pixels.subarray(i * size, (i + 1) * size), (byte) => byte / 255);
        run.testCodes.push(run.model.mostProbable(run.model.encode(values)));
        yield;
      }
      yield;
    };
    run.encoding ??= inSlices(work(), () => false);
    await run.encoding;
  };
  const image = (values, attributes) => h("button", { class: "option", ...attributes }, paint(picture(state.imageShape, { role: "presentation" }), values));
  const open = async () => {
    rows.forEach((row, i) => row.classList.toggle("selected", i === state.latent));
    title.textContent = `Choice ${state.latent}: what each category draws, and test images that have it`;
    await byCategory();
    const size = run.model.nPixels;
    const lines = latents[state.latent].usage.map((q, k) => {
      const found = run.testCodes.flatMap((code, i) => (code[state.latent] === k ? [i] : [])).slice(0, EXAMPLES);
      return { q, k, found };
    });
    const inUse = lines.sort((a, b) => b.q - a.q).slice(0, LINES_AT_MOST).sort((a, b) => a.k - b.k);
    examples.replaceChildren(...inUse.map(({ k, found }) =>
      h("div", { class: "line" },
        h("span", {}, k),
        image(run.model.imageOf(run.code.with(state.latent, k)), {
          "aria-label": `category ${k}`, "aria-pressed": run.code[state.latent] === k, onclick: () => state.flip(run, state.latent, k),
        }),
        h("span", { class: "arrow", "aria-hidden": "true" }, "·"),
        found.map((i) => image(Array.from(state.images.pixels.subarray(i * size, (i + 1) * size), (byte) => byte / 255), {
          "aria-label": `test image ${i}`, onclick: () => state.showTest(i),
        })))));
  };

  const heat = h("canvas", { class: "heat", role: "img", "aria-label": "Mutual information between latents" });
  const drawHeat = () => {
    const values = between.flatMap((row, a) => row.map((v, b) => (a === b ? 0 : v)));
    paintCells(heat, values, between.length, between.length);
  };
  state.on("setting", sort);
  state.on("theme", () => between && drawHeat());
  const nDead = latents.filter((latent) => latent.information < 0.01).length;
  const root = h("div", { class: "columns" },
    h("div", {},
      h("p", { class: "hint" }, `${n_images} test images, nats. ${nDead} of ${latents.length} are dead: they say less than 0.01 nats about the image.`),
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of choices" },
        h("table", {}, h("thead", {}, h("tr", {}, heads)), body))),
    h("div", {}, title, examples,
      between && h("h3", {}, "What the choices say about each other"),
      between && heat,
      between && h("p", { class: "hint" }, "I(z; z′) in nats, by number; full colour is 1 or more.")));
  sort();
  if (between) drawHeat();
  let isOpened = false;
  return {
    root,
    update: (what) => {
      if (!isOpened || what !== "setting") open();
      isOpened = true;
    },
  };
}
