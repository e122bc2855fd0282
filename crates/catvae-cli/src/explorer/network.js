// The network in plain JavaScript: layers, likelihood, and the posterior of a code.

const HALVES = (() => {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    table[bits] = bits & 0x8000 ? -size : size;
  }
  return table;
})();

function bytesOfBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Deflated bytes in base64, unpacked. */
export async function unpack(text) {
  const stream = new Blob([bytesOfBase64(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function linear(layer, take) {
  const { inputs, outputs } = layer;
  const stored = take(inputs * outputs);
  const bias = take(outputs);
  // Transposed: most inputs are zero, and a zero then skips a whole row.
  const weight = new Float32Array(stored.length);
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) weight[i * outputs + o] = stored[o * inputs + i];
  }
  return (x) => {
    const y = bias.slice();
    for (let i = 0; i < inputs; i++) {
      const value = x[i];
      if (value === 0) continue;
      const row = weight.subarray(i * outputs, (i + 1) * outputs);
      for (let o = 0; o < outputs; o++) y[o] += value * row[o];
    }
    return y;
  };
}

/** A convolution from the larger image to the smaller one, or its adjoint back. */
function convolution(layer, take, isAdjoint) {
  const { large, small, kernel, stride, padding } = layer;
  const [inner, rows, cols] = small;
  const [outer, largeRows, largeCols] = large;
  const weight = take(inner * outer * kernel * kernel);
  const bias = take(isAdjoint ? outer : inner);
  const area = isAdjoint ? largeRows * largeCols : rows * cols;
  return (x) => {
    const y = new Float32Array(bias.length * area);
    bias.forEach((value, channel) => y.fill(value, channel * area, (channel + 1) * area));
    let at = 0;
    for (let s = 0; s < inner; s++) {
      for (let l = 0; l < outer; l++) {
        for (let ky = 0; ky < kernel; ky++) {
          for (let kx = 0; kx < kernel; kx++, at++) {
            const w = weight[at];
            // Columns of the smaller image whose patch has this column inside of the larger one.
            const first = Math.max(0, Math.ceil((padding - kx) / stride));
            const last = Math.min(cols, Math.floor((largeCols - 1 + padding - kx) / stride) + 1);
            for (let r = 0; r < rows; r++) {
              const row = r * stride - padding + ky;
              if (row < 0 || row >= largeRows) continue;
              const inSmall = (s * rows + r) * cols;
              const inLarge = (l * largeRows + row) * largeCols - padding + kx;
              if (isAdjoint) for (let c = first; c < last; c++) y[inLarge + c * stride] += w * x[inSmall + c];
              else for (let c = first; c < last; c++) y[inSmall + c] += w * x[inLarge + c * stride];
            }
          }
        }
      }
    }
    return y;
  };
}

const KINDS = {
  linear,
  conv2d: (layer, take) => convolution(layer, take, false),
  "conv-transpose2d": (layer, take) => convolution(layer, take, true),
};

const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** `mean` of a pixel, and −ln p(x) in nats, from its logit l, for each law. */
export const LAWS = {
  bernoulli: {
    mean: (l) => 0.5 + 0.5 * Math.tanh(l / 2),
    nll: (l, x) => softplus(l) - l * x,
  },
  // A(l) − l x with A(l) = ln((e^l − 1) / l), by its series where that is 0/0.
  "continuous-bernoulli": {
    mean: (l) => {
      const m = Math.abs(l);
      if (m < 0.02) return 0.5 + l / 12 - l ** 3 / 720;
      const above = -1 / Math.expm1(-m) - 1 / m;
      return l > 0 ? above : 1 - above;
    },
    nll: (l, x) => {
      const m = Math.abs(l);
      if (m < 0.02) return l / 2 + l ** 2 / 24 - l ** 4 / 2880 - l * x;
      return Math.max(l, 0) + Math.log(-Math.expm1(-m) / m) - l * x;
    },
  },
  // The mass of a logistic variable around one of 256 levels.
  "discretised-logistic": {
    mean: (l) => {
      const at = Math.min(100, Math.max(-100, l));
      const reach = 0.5 / LOGISTIC_SCALE;
      return Math.min(1, Math.max(0, 1 - LOGISTIC_SCALE * (softplus(reach - at) - softplus(-reach - at))));
    },
    nll: (l, x) => {
      const half = HALF_LEVEL / LOGISTIC_SCALE;
      const centre = (x - 0.5) / LOGISTIC_SCALE - l;
      const hasLower = x > HALF_LEVEL;
      const hasUpper = x < 1 - HALF_LEVEL;
      const width = hasLower && hasUpper ? -Math.log(-Math.expm1(-2 * half)) : 0;
      return (hasLower ? softplus(centre - half) : 0) + (hasUpper ? softplus(-centre - half) : 0) + width;
    },
  },
};
/** Of gumbel-kernels' discretised logistic law. */
const HALF_LEVEL = 0.5 / 255;
const LOGISTIC_SCALE = 0.2;

export class Model {
  constructor(settings, weights) {
    Object.assign(this, settings);
    this.nPixels = this.imageShape[0] * this.imageShape[1];
    this.width = this.nLatents * this.nCategories;
    this.law = LAWS[this.likelihood];
    const halves = new Uint16Array(weights.buffer, 0, weights.length / 2);
    let at = 0;
    const take = (n) => Float32Array.from(halves.subarray(at, (at += n)), (bits) => HALVES[bits]);
    const chain = (layers) => {
      const runs = layers.map((layer) => ({ apply: KINDS[layer.kind](layer, take), relu: layer.relu }));
      return (x) => {
        for (const { apply, relu } of runs) {
          x = apply(x);
          if (relu) for (let i = 0; i < x.length; i++) if (!(x[i] > 0)) x[i] = 0;
        }
        return x;
      };
    };
    /** From pixels to the logits of the code. */
    this.encode = chain(settings.encoder);
    /** From a code, one-hot or relaxed, to the logits of the pixels. */
    this.decode = chain(settings.decoder);
  }

  /** q(z|x), row by row of latents. */
  posterior(logits) {
    return softmaxRows(logits, this.nCategories, 1);
  }

  /** KL to the uniform prior in nats, for each latent. */
  kl(posterior) {
    return this.#rows(posterior, (row) => {
      let negEntropy = 0;
      for (const q of row) if (q > 0) negEntropy += q * Math.log(q);
      return negEntropy + Math.log(this.nCategories);
    });
  }

  /** The category of each latent with the largest value. */
  mostProbable(values) {
    return this.#rows(values, (row) => row.reduce((best, value, k) => (value > row[best] ? k : best), 0));
  }

  oneHot(code) {
    const z = new Float32Array(this.width);
    code.forEach((category, latent) => (z[latent * this.nCategories + category] = 1));
    return z;
  }

  /** Means of the pixels. */
  image(z) {
    return this.decode(z).map(this.law.mean);
  }

  imageOf(code) {
    return this.image(this.oneHot(code));
  }

  /** −ln p(x|z) in nats. */
  nll(z, x) {
    const logits = this.decode(z);
    let sum = 0;
    for (let i = 0; i < logits.length; i++) sum += this.law.nll(logits[i], x[i]);
    return sum;
  }

  #rows(values, of) {
    const k = this.nCategories;
    return Array.from({ length: this.nLatents }, (_, latent) => of(values.subarray(latent * k, (latent + 1) * k)));
  }
}

export function softmaxRows(logits, k, temperature) {
  const y = new Float32Array(logits.length);
  for (let start = 0; start < logits.length; start += k) {
    let largest = -Infinity;
    for (let i = start; i < start + k; i++) largest = Math.max(largest, logits[i]);
    let sum = 0;
    for (let i = start; i < start + k; i++) sum += y[i] = Math.exp((logits[i] - largest) / temperature);
    for (let i = start; i < start + k; i++) y[i] /= sum;
  }
  return y;
}

/** A seeded generator of uniform numbers in (0, 1): sfc32. */
export function uniforms(seed) {
  let [a, b, c, d] = [0x9e3779b9, 0x243f6a88, seed | 0, 1];
  const next = () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return ((t >>> 0) + 0.5) / 4294967296;
  };
  for (let i = 0; i < 12; i++) next();
  return next;
}

/** Standard Gumbel noise: logits plus this have their largest value at a sample. */
export function gumbels(n, seed) {
  const next = uniforms(seed);
  return Float32Array.from({ length: n }, () => -Math.log(-Math.log(next())));
}
