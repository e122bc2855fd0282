//! What a code is: independent categories, a chain of them, or subsets.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};
use gumbel_core::distributions::Gibbs;
use gumbel_core::structure::{Categories, Copies, KSubset, LinearChain, Structure};
use gumbel_core::{log_prob, one_hot};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, kl_to_uniform_prior, log_uniform_prior};

/// Which codes there are. As text: `categories`, `chain`, `subset:k=10,n=20`.
///
/// | code | what it is | event of logits and codes | numbers in files |
/// |---|---|---|---|
/// | `categories` | `n_latents` independent variables of `n_categories` | `(n_latents, n_categories)` | a category each |
/// | `chain` | the same, each dependent on the one before it ([`LinearChain`]) | `(n_latents, n_categories, n_categories)`, pairs of neighbours | a category each |
/// | `subset` | `n_latents` independent subsets of `k` of `n` items ([`KSubset`]) | `(n_latents, n)` | the `k` items of each, ascending |
///
/// The prior is uniform over all codes. `shape` below is that of [`ModelSettings::code_shape`](crate::ModelSettings::code_shape).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Code {
    /// Independent categories.
    #[default]
    Categories,
    /// A chain of categories.
    Chain,
    /// Independent subsets.
    Subset {
        /// Items of a subset.
        k: usize,
        /// Items to choose from.
        n: usize,
    },
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Categories => f.write_str("categories"),
            Self::Chain => f.write_str("chain"),
            Self::Subset { k, n } => write!(f, "subset:k={k},n={n}"),
        }
    }
}

impl FromStr for Code {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let subset = || {
            let (mut k, mut n) = (None, None);
            for part in text.strip_prefix("subset:")?.split(',') {
                let (name, value) = part.split_once('=')?;
                let place = match name {
                    "k" => &mut k,
                    "n" => &mut n,
                    _ => return None,
                };
                if place.replace(value.parse().ok()?).is_some() {
                    return None;
                }
            }
            Some(Self::Subset { k: k?, n: n? })
        };
        match text {
            "categories" => Ok(Self::Categories),
            "chain" => Ok(Self::Chain),
            _ => subset().ok_or_else(|| {
                format!("there is no code {text:?}; there are categories, chain and subset:k=K,n=N")
            }),
        }
    }
}

impl TryFrom<String> for Code {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.to_string()
    }
}

impl Code {
    /// The names, without parameters.
    pub const NAMES: [&str; 3] = ["categories", "chain", "subset"];

    /// Refuses a subset that leaves nothing to choose.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Subset { k, n } if k == 0 || k >= n => Err(Error::SubsetSize { k, n }),
            _ => Ok(()),
        }
    }

    /// The event of logits and codes, without the batch.
    pub fn dims(self, [n_latents, n_categories]: [usize; 2]) -> Vec<usize> {
        match self {
            Self::Categories | Self::Subset { .. } => vec![n_latents, n_categories],
            Self::Chain => vec![n_latents, n_categories, n_categories],
        }
    }

    /// What estimators and [`Gibbs`] know the codes by.
    pub fn structure(self) -> Arc<dyn Structure> {
        match self {
            Self::Categories => Arc::new(Categories::default()),
            Self::Chain => Arc::new(LinearChain::default()),
            Self::Subset { k, .. } => Arc::new(Copies::new(Arc::new(KSubset::new(k)))),
        }
    }

    /// KL divergence from the posterior to the uniform law over all codes, in nats: `(batch,)`, exact.
    ///
    /// # Errors
    /// Logits that are NaN.
    pub fn kl(self, logits: &Tensor) -> Result<Tensor> {
        match self {
            Self::Categories => kl_to_uniform_prior(logits),
            _ => Ok(Gibbs::on(self.structure(), logits)?.kl_to_uniform()?),
        }
    }

    /// `ln p(z) − ln q(z|x)` of exact codes under the uniform prior, in nats: `(batch,)`.
    ///
    /// # Errors
    /// Logits that are NaN; what is no code.
    pub fn log_prior_over_posterior(
        self,
        shape: [usize; 2],
        logits: &Tensor,
        z: &Tensor,
    ) -> Result<Tensor> {
        if self == Self::Categories {
            let log_prior = log_uniform_prior(shape);
            return Ok(log_prob(logits, z)?.sum(D::Minus1)?.affine(-1.0, log_prior)?);
        }
        let posterior = Gibbs::on(self.structure(), &logits.to_dtype(DType::F64)?)?;
        let log_ratio = (posterior.log_prob(z)? + posterior.log_count()?)?.neg()?;
        Ok(log_ratio.to_dtype(logits.dtype())?)
    }

    /// How many codes there are, as `base ^ exponent`; the base at most `usize::MAX`.
    pub fn count(self, [n_latents, n_categories]: [usize; 2]) -> (usize, usize) {
        match self {
            Self::Categories | Self::Chain => (n_categories, n_latents),
            Self::Subset { k, n } => {
                let (k, n) = (k.min(n.saturating_sub(k)) as u128, n as u128);
                // C(n, i) is whole for every i on the way.
                let choose = |c: u128, i: u128| Some(c.checked_mul(n - i)? / (i + 1));
                let count = (0..k).try_fold(1_u128, choose).and_then(|c| usize::try_from(c).ok());
                (count.unwrap_or(usize::MAX), n_latents)
            }
        }
    }

    /// The parts of a code that statistics are made of, and how many values each has: latents and their categories,
    /// or items that are in their subset or not.
    pub fn parts(self, [n_latents, n_categories]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Categories | Self::Chain => [n_latents, n_categories],
            Self::Subset { .. } => [n_latents * n_categories, 2],
        }
    }

    /// Logarithms of the marginal probabilities of the [parts](Self::parts), `(batch, parts, values)`, up to a constant a row.
    ///
    /// # Errors
    /// Logits that are NaN.
    pub fn log_parts(self, logits: &Tensor) -> Result<Tensor> {
        if self == Self::Categories {
            return Ok(logits.clone());
        }
        Ok(self.marginals_of_parts(logits)?.log()?)
    }

    /// Marginal probabilities that a posterior is shown by: of each category, or of each item to be in its subset.
    ///
    /// # Shapes
    /// - output: `(batch, n_latents, n_categories)`, or `(batch, n_latents, n)`.
    ///
    /// # Errors
    /// Logits that are NaN.
    pub fn posterior(self, logits: &Tensor) -> Result<Tensor> {
        let logits = logits.detach();
        Ok(match self {
            Self::Categories => {
                let weights = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?.exp()?;
                weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?
            }
            Self::Chain => Gibbs::on(self.structure(), &logits)?.marginals()?.sum(2)?,
            Self::Subset { .. } => Gibbs::on(self.structure(), &logits)?.marginals()?,
        })
    }

    fn marginals_of_parts(self, logits: &Tensor) -> Result<Tensor> {
        let q = self.posterior(logits)?;
        let Self::Subset { .. } = self else { return Ok(q) };
        let (batch, copies, n) = q.dims3()?;
        let q = q.reshape((batch, copies * n))?;
        Ok(Tensor::stack(&[q.affine(-1.0, 1.0)?, q], 2)?)
    }

    /// How many numbers a code is in a file.
    pub fn width(self, [n_latents, _]: [usize; 2]) -> usize {
        match self {
            Self::Categories | Self::Chain => n_latents,
            Self::Subset { k, .. } => n_latents * k,
        }
    }

    /// Codes as numbers, `(batch, width)`, u32.
    ///
    /// # Errors
    /// Those of candle.
    pub fn numbers(self, z: &Tensor) -> Result<Tensor> {
        let k = match self {
            Self::Categories => return Ok(z.argmax(D::Minus1)?),
            Self::Chain => return Ok(z.sum(2)?.argmax(D::Minus1)?),
            Self::Subset { k, .. } => k,
        };
        let (batch, copies, n) = z.dims3()?;
        let ones = z.flatten_all()?.to_vec1::<f32>()?.into_iter().enumerate();
        let items = ones.filter(|(_, z)| *z == 1.0).map(|(at, _)| (at % n) as u32);
        let items: Vec<u32> = items.collect();
        Ok(Tensor::from_vec(items, (batch, copies * k), z.device())?)
    }

    /// The inverse of [`Self::numbers`]: `(batch, …)`, f32.
    ///
    /// # Errors
    /// [`Error::CodeNumber`] for one that is no category or item, or that stands twice in a subset.
    pub fn from_numbers(
        self,
        numbers: &[i64],
        shape: [usize; 2],
        device: &Device,
    ) -> Result<Tensor> {
        let (width, most) = (self.width(shape), shape[1]);
        let batch = numbers.len() / width.max(1);
        let wrong = |at: usize, must: String| {
            let (row, column, value) = (at / width, at % width, numbers[at]);
            Error::CodeNumber { row, column, value, must }
        };
        let mut indices = Vec::with_capacity(numbers.len());
        for (at, &number) in numbers.iter().enumerate() {
            match u32::try_from(number) {
                Ok(index) if (index as usize) < most => indices.push(index),
                _ => return Err(wrong(at, format!("a number from 0 to {}", most - 1))),
            }
        }
        let dims = [&[batch], self.dims(shape).as_slice()].concat();
        match self {
            Self::Categories => {
                let indices = Tensor::from_vec(indices, (batch, shape[0]), device)?;
                Ok(one_hot(&indices, most, DType::F32)?)
            }
            Self::Chain => {
                let mut z = vec![0.0_f32; dims.iter().product()];
                for (at, &label) in indices.iter().enumerate() {
                    let before = if at % width == 0 { 0 } else { indices[at - 1] as usize };
                    z[(at * most + before) * most + label as usize] = 1.0;
                }
                Ok(Tensor::from_vec(z, dims, device)?)
            }
            Self::Subset { k, .. } => {
                let mut z = vec![0.0_f32; dims.iter().product()];
                for (at, &item) in indices.iter().enumerate() {
                    let place = &mut z[at / k * most + item as usize];
                    if std::mem::replace(place, 1.0) == 1.0 {
                        let first = at / k * k % width;
                        let must = format!("no other of columns {first} to {}", first + k - 1);
                        return Err(wrong(at, must));
                    }
                }
                Ok(Tensor::from_vec(z, dims, device)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gumbel_core::Generator;

    use super::*;

    const CODES: [(Code, [usize; 2]); 3] =
        [(Code::Categories, [3, 4]), (Code::Chain, [3, 4]), (Code::Subset { k: 2, n: 5 }, [3, 5])];

    fn list(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn logits(code: Code, shape: [usize; 2]) -> Tensor {
        let dims = [&[7], code.dims(shape).as_slice()].concat();
        let g = &mut Generator::new(1);
        gumbel_core::gumbel_noise(dims, DType::F32, &Device::Cpu, g).unwrap()
    }

    #[test]
    fn a_code_is_read_as_it_is_written() {
        for (code, _) in CODES {
            assert_eq!(code.to_string().parse(), Ok(code));
        }
        assert_eq!("subset:n=20,k=10".parse(), Ok(Code::Subset { k: 10, n: 20 }));
        for text in ["subset", "subset:k=1", "subset:k=1,n=2,n=3", "subset:k=-1,n=2", "tree", ""] {
            let error = text.parse::<Code>().unwrap_err();
            assert!(error.contains("categories, chain and subset:k=K,n=N"), "{error}");
        }
    }

    #[test]
    fn numbers_lead_back_to_their_codes() {
        for (code, shape) in CODES {
            let z = code.structure().sample(&logits(code, shape), &mut Generator::new(2)).unwrap();
            let numbers = code.numbers(&z).unwrap();
            assert_eq!(numbers.dims(), [7, code.width(shape)]);
            let numbers: Vec<u32> = numbers.flatten_all().unwrap().to_vec1().unwrap();
            let mut numbers: Vec<i64> = numbers.into_iter().map(i64::from).collect();
            let back = code.from_numbers(&numbers, shape, &Device::Cpu).unwrap();
            assert_eq!((back.dims(), list(&back)), (z.dims(), list(&z)), "{code}");
            numbers[code.width(shape) + 1] = shape[1] as i64;
            let error = code.from_numbers(&numbers, shape, &Device::Cpu).unwrap_err().to_string();
            assert!(error.starts_with("codes[1, 1] is "), "{error}");
        }
        let twice = Code::Subset { k: 2, n: 5 }.from_numbers(&[3, 1, 4, 4], [2, 5], &Device::Cpu);
        let error = twice.unwrap_err().to_string();
        assert_eq!(error, "codes[0, 3] is 4, but must be no other of columns 2 to 3");
    }

    #[test]
    fn marginals_of_parts_are_frequencies_of_samples() {
        for (code, shape) in CODES {
            let one = logits(code, shape).narrow(0, 0, 1).unwrap();
            let n = 20_000;
            let many = one.broadcast_as([&[n], &one.dims()[1..]].concat()).unwrap();
            let many = many.contiguous().unwrap();
            let z = code.structure().sample(&many, &mut Generator::new(3)).unwrap();
            let seen = match code {
                Code::Chain => z.sum(2).unwrap(),
                _ => z,
            };
            let seen = list(&seen.mean(0).unwrap());
            // Sixty frequencies: 4.5 standard errors are passed by chance with α = 4e-4.
            for (p, seen) in list(&code.posterior(&one).unwrap()).into_iter().zip(seen) {
                let error = (p * (1.0 - p) / n as f32).sqrt();
                assert!((p - seen).abs() < 4.5 * error + 1e-6, "{code}: {p} {seen}");
            }
            let parts = code.log_parts(&one).unwrap();
            assert_eq!(parts.dims()[1..], code.parts(shape));
        }
    }

    #[test]
    fn the_ratio_of_prior_and_posterior_has_the_divergence_as_its_mean() {
        for (code, shape) in CODES {
            let one = logits(code, shape).narrow(0, 0, 1).unwrap();
            let n = 20_000;
            let many = one.broadcast_as([&[n], &one.dims()[1..]].concat()).unwrap();
            let many = many.contiguous().unwrap();
            let z = code.structure().sample(&many, &mut Generator::new(4)).unwrap();
            let ratios = code.log_prior_over_posterior(shape, &many, &z).unwrap().neg().unwrap();
            let mean = ratios.mean(0).unwrap().to_scalar::<f32>().unwrap();
            let error = (ratios.var(0).unwrap().to_scalar::<f32>().unwrap() / n as f32).sqrt();
            let kl = list(&code.kl(&one).unwrap())[0];
            // α = 7e-6 each.
            assert!((mean - kl).abs() < 4.5 * error, "{code}: {mean} {kl} {error}");
        }
    }

    #[test]
    fn codes_are_counted() {
        let count = |code: Code, shape| code.count(shape);
        assert_eq!(count(Code::Chain, [3, 4]), (4, 3));
        assert_eq!(count(Code::Subset { k: 10, n: 20 }, [2, 20]), (184_756, 2));
        assert_eq!(count(Code::Subset { k: 500, n: 1000 }, [1, 1000]), (usize::MAX, 1));
    }
}
