//! Learning the places of pieces by Gumbel-Sinkhorn (Mena et al. 2018): shared by sorting and jigsaws.
//!
//! Each piece alone goes through a network to a row of scores, one for each place; the loss is the squared distance of what the relaxed
//! permutation makes of the pieces to what it should be.

use anyhow::Result;
use candle_core::{DType, Tensor};
use gumbel_core::{Generator, SinkhornOptions, gumbel_sinkhorn, matching};

use crate::network::Mlp;
use crate::report::mean;

/// Lists of pieces `(lists, n, values)`, and the same in their places.
pub(crate) struct Lists {
    pub(crate) pieces: Tensor,
    pub(crate) solved: Tensor,
}

/// `(lists, n, n)`: for each piece its places.
fn scores(network: &Mlp, pieces: &Tensor) -> Result<Tensor> {
    let (lists, n, _) = pieces.dims3()?;
    Ok(network.forward(&pieces.flatten(0, 1)?)?.reshape((lists, n, n))?)
}

/// The loss of several samples at τ = 1, and the largest distance of a row's sum from 1.
pub(crate) fn loss(
    network: &Mlp,
    lists: &Lists,
    options: &SinkhornOptions,
    samples: usize,
    g: &mut Generator,
) -> Result<(Tensor, f64)> {
    let log_alpha = scores(network, &lists.pieces)?.repeat((samples, 1, 1))?;
    let result = gumbel_sinkhorn(&log_alpha, 1.0, options, false, g)?;
    let pieces = lists.pieces.repeat((samples, 1, 1))?;
    let guess = result.plan.transpose(1, 2)?.contiguous()?.matmul(&pieces)?;
    let loss = (guess - lists.solved.repeat((samples, 1, 1))?)?.sqr()?.mean_all()?;
    Ok((loss, result.residual.max_all()?.to_scalar()?))
}

/// The share of places that get other content than they should, and of lists with any such place, by the best matching without noise.
/// Scaling rows and columns changes no comparison of permutations: the scores need no Sinkhorn.
pub(crate) fn wrong(network: &Mlp, lists: &Lists) -> Result<[f64; 2]> {
    let (_, n, values) = lists.pieces.dims3()?;
    let places =
        matching(&scores(network, &lists.pieces)?)?.to_dtype(DType::U32)?.to_vec2::<u32>()?;
    let pieces = lists.pieces.flatten_from(1)?.to_vec2::<f32>()?;
    let solved = lists.solved.flatten_from(1)?.to_vec2::<f32>()?;
    let share = |((pieces, solved), places): ((&Vec<f32>, &Vec<f32>), &Vec<u32>)| {
        let solved: Vec<&[f32]> = solved.chunks(values).collect();
        let found = pieces.chunks(values).zip(places);
        found.filter(|(piece, place)| solved[**place as usize] != *piece).count() as f64 / n as f64
    };
    let shares: Vec<f64> = pieces.iter().zip(&solved).zip(&places).map(share).collect();
    let any: Vec<f64> = shares.iter().map(|share| f64::from(u8::from(*share > 0.0))).collect();
    Ok([mean(&shares), mean(&any)])
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn equal_pieces_may_change_places() {
        let mut g = Generator::new(0);
        // One value in, so a network of one layer; the scores do not matter: all pieces but one are equal.
        let network = Mlp::new(&[1, 3], Tensor::relu, &mut g).unwrap();
        let list = |x: [f32; 3]| Tensor::new(&x, &Device::Cpu).unwrap().reshape((1, 3, 1)).unwrap();
        let equal = Lists { pieces: list([2.0; 3]), solved: list([2.0; 3]) };
        assert_eq!(wrong(&network, &equal).unwrap(), [0.0, 0.0]);
        let other = Lists { pieces: list([2.0; 3]), solved: list([2.0, 5.0, 2.0]) };
        assert_eq!(wrong(&network, &other).unwrap(), [1.0 / 3.0, 1.0]);
    }
}
