//! Copies against what each of them is by itself. Sums over all codes are in the tests of `distributions::Gibbs`.

use candle_core::{DType, Device};

use super::*;
use crate::gumbel_noise;
use crate::structure::{KSubset, LinearChain};

fn list(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn each_copy_is_the_structure_by_itself() {
    let cases: [(Arc<dyn Structure>, &[usize]); 2] = [
        (Arc::new(KSubset::new(2)), &[3, 2, 5]),
        (Arc::new(LinearChain::default()), &[3, 2, 4, 2, 2]),
    ];
    for (one, dims) in cases {
        let copies = Copies::new(one.clone());
        let g = &mut Generator::new(5);
        let theta = gumbel_noise(dims, DType::F64, &Device::Cpu, g).unwrap();
        let of_copy = |x: &Tensor, copy: usize| x.narrow(1, copy, 1).unwrap().squeeze(1).unwrap();
        // A temperature for each row, and one for all.
        let taus = Tensor::new(&[0.5, 1.0, 2.0], &Device::Cpu).unwrap();
        let taus = taus.reshape([&[3], vec![1; dims.len() - 1].as_slice()].concat()).unwrap();
        let grad = theta.cos().unwrap();
        let whole = copies.marginals(&theta, &Temperature::Tensor(taus.clone())).unwrap();
        let whole_d =
            copies.marginals_vjp(&theta, &Temperature::Tensor(taus.clone()), &grad).unwrap();
        let best = copies.solve(&theta).unwrap();
        let mut total = vec![0.0; 3];
        for copy in 0..2 {
            let theta = of_copy(&theta, copy).contiguous().unwrap();
            let tau = Temperature::Tensor(of_copy(&taus.broadcast_as(dims).unwrap(), copy));
            let mu = one.marginals(&theta, &tau).unwrap();
            assert_eq!(list(&of_copy(&whole, copy)), list(&mu));
            let grad = of_copy(&grad, copy).contiguous().unwrap();
            let d = one.marginals_vjp(&theta, &tau, &grad).unwrap();
            assert_eq!(list(&of_copy(&whole_d, copy)), list(&d));
            assert_eq!(list(&of_copy(&best, copy)), list(&one.solve(&theta).unwrap()));
            let of_one = list(&one.log_partition(&theta).unwrap());
            total.iter_mut().zip(of_one).for_each(|(total, a)| *total += a);
        }
        assert_eq!(list(&copies.log_partition(&theta).unwrap()), total);
    }
}

#[test]
fn logits_without_copies_and_too_many_codes_are_errors() {
    let copies = Copies::new(Arc::new(KSubset::new(2)));
    let flat = Tensor::zeros(4, DType::F64, &Device::Cpu).unwrap();
    assert!(matches!(copies.check(&flat), Err(Error::UnexpectedShape { .. })));
    // Subsets have an event of one dimension, chains one of three: it is missing.
    for (copies, dims) in
        [(&copies, vec![2, 4]), (&Copies::new(Arc::new(LinearChain::default())), vec![2, 4, 3, 3])]
    {
        let short = Tensor::zeros(dims.as_slice(), DType::F64, &Device::Cpu).unwrap();
        match copies.check(&short) {
            Err(Error::UnexpectedShape { got, .. }) => assert_eq!(got, dims),
            other => panic!("{other:?}"),
        }
    }
    let wide = Tensor::zeros((1, 9, 4), DType::F64, &Device::Cpu).unwrap();
    assert!(matches!(copies.codes(&wide), Err(Error::TooLarge { .. })));
    // No copies of one item.
    let few = Tensor::zeros((1, 2, 1), DType::F64, &Device::Cpu).unwrap();
    assert!(matches!(copies.check(&few), Err(Error::SubsetSize { k: 2, allowed: 1, row: 0 })));
}
