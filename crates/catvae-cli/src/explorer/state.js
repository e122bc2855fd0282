// What is on the page, kept in its address: picture, codes, view. Views listen to what changes.

import { inSlices } from "./page.js";
import { gumbels, uniforms } from "./network.js";

const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz";

/** Draws behind a mean over samples. */
export const DRAWS = 64;

export class State extends EventTarget {
  constructor(runs, images) {
    super();
    this.runs = runs;
    this.images = images;
    this.imageShape = runs[0].model.imageShape;
    this.active = 0;
    this.latent = 0;
    this.settings = new Map();
    this.seed = 1;
  }

  get run() {
    return this.runs[this.active];
  }

  /** Tells the views, and keeps the address. */
  tell(what) {
    this.dispatchEvent(new Event(what));
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.save(), 120);
  }

  on(events, listener) {
    for (const event of events.split(" ")) this.addEventListener(event, listener);
  }

  /** A setting of a view, such as the temperature, as text. */
  get(key, otherwise) {
    return this.settings.get(key) ?? otherwise;
  }

  set(key, value) {
    this.settings.set(key, String(value));
    this.tell("setting");
  }

  /** The model sees a new picture: every run encodes it and takes its most probable code. */
  show(pixels, source) {
    this.pixels = pixels;
    this.source = source;
    for (const run of this.runs) {
      run.logits = run.model.encode(pixels);
      run.posterior = run.model.posterior(run.logits);
      run.kl = run.model.kl(run.posterior);
      run.code = run.model.mostProbable(run.logits);
      run.isEdited = false;
    }
    this.tell("picture");
  }

  showTest(index) {
    const { n, pixels } = this.images;
    index = ((index % n) + n) % n;
    const size = this.runs[0].model.nPixels;
    const values = Float32Array.from(pixels.subarray(index * size, (index + 1) * size), (byte) => byte / 255);
    this.show(values, { test: index });
  }

  setCode(run, code) {
    run.code = code;
    run.isEdited = true;
    this.tell("code");
  }

  flip(run, latent, category) {
    this.latent = latent;
    this.active = this.runs.indexOf(run);
    this.setCode(run, run.code.with(latent, category));
    this.tell("latent");
  }

  select(latent) {
    this.latent = latent;
    this.tell("latent");
  }

  /** A draw from the posterior, or from the uniform prior. */
  sample(run, fromPrior) {
    this.seed += 1;
    const noise = gumbels(run.model.width, this.seed);
    const values = fromPrior ? noise : noise.map((g, i) => g + run.logits[i]);
    this.setCode(run, run.model.mostProbable(values));
  }

  /** Mean −ln p(x|z) over exact samples and the standard deviation of each pixel's mean. */
  async uncertainty(run, done) {
    const { model, logits } = run;
    const pixels = this.pixels;
    const sum = new Float64Array(model.nPixels);
    const squares = new Float64Array(model.nPixels);
    let nll = 0;
    const seeds = uniforms(7);
    const work = function* () {
      for (let draw = 0; draw < DRAWS; draw++) {
        const noise = gumbels(model.width, 4294967296 * seeds());
        const code = model.mostProbable(noise.map((g, i) => g + logits[i]));
        const pixelLogits = model.decode(model.oneHot(code));
        pixelLogits.forEach((l, i) => {
          const mean = model.law.mean(l);
          sum[i] += mean;
          squares[i] += mean * mean;
          nll += model.law.nll(l, pixels[i]);
        });
        yield;
      }
      done({
        nll: nll / DRAWS,
        deviation: sum.map((s, i) => Math.sqrt(Math.max(0, squares[i] / DRAWS - (s / DRAWS) ** 2))),
      });
    };
    await inSlices(work(), () => run.logits !== logits);
  }

  save() {
    const parts = new URLSearchParams();
    if (this.source.test != null) parts.set("x", this.source.test);
    else parts.set("d", this.source.drawing);
    this.runs.forEach((run, i) => run.isEdited && parts.set(`c${i}`, codeText(run)));
    parts.set("l", this.latent);
    if (this.active) parts.set("r", this.active);
    for (const [key, value] of this.settings) parts.set(key, value);
    history.replaceState(null, "", `#${parts}`);
  }

  /** The address's parts; a part that does not fit the models is passed over. */
  static address() {
    return new URLSearchParams(location.hash.slice(1));
  }

  restore(parts, draw) {
    for (const key of ["v", "t", "w", "s", "sort", "centre", "theme"]) if (parts.has(key)) this.settings.set(key, parts.get(key));
    const index = (text, n) => (Number(text) >= 0 && Number(text) < n ? Math.floor(Number(text)) : 0);
    this.active = index(parts.get("r"), this.runs.length);
    this.latent = index(parts.get("l"), this.run.model.nLatents);
    if (!parts.has("d") || !draw(parts.get("d"))) this.showTest(index(parts.get("x"), this.images.n));
    this.runs.forEach((run, i) => {
      const code = parts.has(`c${i}`) && parsedCode(parts.get(`c${i}`), run.model);
      if (code) this.setCode(run, code);
    });
  }
}

export function codeText(run) {
  if (run.model.nCategories <= DIGITS.length) return run.code.map((k) => DIGITS[k]).join("");
  return run.code.join(".");
}

/** A code from JSON, numbers with anything between, or one digit a latent; null where it does not fit the model. */
export function parsedCode(text, { nLatents, nCategories }) {
  const plain = text.trim().toLowerCase();
  const digits = plain.length === nLatents && nLatents > 1 && /^[0-9a-z]+$/.test(plain);
  const code = digits ? [...plain].map((digit) => DIGITS.indexOf(digit)) : (plain.match(/-?\d+/g) ?? []).map(Number);
  return code.length === nLatents && code.every((k) => k >= 0 && k < nCategories) ? code : null;
}
