//! Convergence, gradients, masks, hard samples and errors.

use candle_core::Var;

use super::*;

const NONE: f64 = f64::NEG_INFINITY;

fn list(x: &Tensor) -> Vec<f64> {
    values(x).unwrap()
}

fn matrix(n: usize, scale: f64, batch: usize) -> Tensor {
    let x: Vec<f64> =
        (0..batch * n * n).map(|i| scale * 2.0 * (1.7 * i as f64 + 0.2).sin()).collect();
    Tensor::from_vec(x, (batch, n, n), &Device::Cpu).unwrap()
}

fn until(tolerance: f64, gradient: SinkhornGradient) -> SinkhornOptions {
    let iterations = Some(Iterations::Until { tolerance, most: 100_000 });
    SinkhornOptions { iterations, gradient: Some(gradient), ..Default::default() }
}

fn fixed(m: usize) -> SinkhornOptions {
    SinkhornOptions { iterations: Some(Iterations::Fixed(m)), ..Default::default() }
}

#[test]
fn the_residual_is_that_of_the_rows_and_columns_sum_to_one() {
    for scale in [0.1, 1.0, 10.0] {
        for options in [fixed(1), fixed(20), SinkhornOptions::default()] {
            let result = sinkhorn(&matrix(5, scale, 3), &options).unwrap();
            let plan = list(&result.plan);
            for (p, residual) in plan.chunks(25).zip(list(&result.residual)) {
                let off = p
                    .chunks(5)
                    .map(|row| (row.iter().sum::<f64>() - 1.0).abs())
                    .fold(0.0, f64::max);
                assert!((off - residual).abs() < 1e-12, "{scale}: {off} {residual}");
                assert!(
                    (0..5).all(|j| (p.iter().skip(j).step_by(5).sum::<f64>() - 1.0).abs() < 1e-12)
                );
            }
        }
    }
}

#[test]
fn ten_iterations_leave_rows_that_do_not_sum_to_one_at_low_temperature_and_say_so() {
    let result = sinkhorn(&matrix(16, 10.0, 1), &fixed(10)).unwrap();
    assert!(list(&result.residual)[0] > 0.05);
    let error = sinkhorn(
        &matrix(16, 10.0, 1),
        &SinkhornOptions {
            iterations: Some(Iterations::Until { tolerance: 1e-9, most: 10 }),
            ..Default::default()
        },
    );
    let error = error.unwrap().require_converged().unwrap_err();
    assert!(
        matches!(error, Error::NotConverged { iterations: 10, tolerance: 1e-9, .. }),
        "{error}"
    );
}

#[test]
fn absorbed_factors_equal_the_plain_iterations_in_logarithms() {
    for scale in [0.1, 1.0, 30.0, 400.0] {
        let n = 5;
        let x = list(&matrix(n, scale, 1));
        let lse = |v: Vec<f64>| {
            let top = v.iter().copied().fold(NONE, f64::max);
            top + v.iter().map(|x| (x - top).exp()).sum::<f64>().ln()
        };
        let (mut f, mut g) = (vec![0.0; n], vec![0.0; n]);
        for _ in 0..20 {
            for i in 0..n {
                f[i] = -lse((0..n).map(|j| x[i * n + j] + g[j]).collect());
            }
            for j in 0..n {
                g[j] = -lse((0..n).map(|i| x[i * n + j] + f[i]).collect());
            }
        }
        let plan = list(&sinkhorn(&matrix(n, scale, 1), &fixed(20)).unwrap().plan);
        for (at, p) in plan.iter().enumerate() {
            let expected = (x[at] + f[at / n] + g[at % n]).exp();
            assert!((p - expected).abs() < 1e-12, "{scale} {at}: {p} {expected}");
        }
    }
}

fn check_gradient(x: &Tensor, tolerance: f64, f: impl Fn(&Tensor) -> Tensor) {
    let var = Var::from_tensor(x).unwrap();
    let y = f(&var);
    let w: Vec<f64> = (0..y.elem_count()).map(|i| (1.3 * i as f64 + 0.4).cos()).collect();
    let w = Tensor::from_vec(w, y.shape(), &Device::Cpu).unwrap();
    let gradient =
        list((&y * &w).unwrap().sum_all().unwrap().backward().unwrap().get(&var).unwrap());
    let flat = list(x);
    for i in 0..flat.len() {
        if flat[i] == NONE {
            assert_eq!(gradient[i], 0.0);
            continue;
        }
        let at = |by: f64| {
            let mut moved = flat.clone();
            moved[i] += by;
            let y = f(&Tensor::from_vec(moved, x.shape(), &Device::Cpu).unwrap());
            list(&(y * &w).unwrap()).iter().sum::<f64>()
        };
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((gradient[i] - difference).abs() < tolerance, "{i}: {} {difference}", gradient[i]);
    }
}

#[test]
fn both_gradients_are_those_of_differences() {
    let mut masked = list(&matrix(4, 1.0, 2));
    (masked[1], masked[6], masked[20]) = (NONE, NONE, NONE);
    let masked = Tensor::from_vec(masked, (2, 4, 4), &Device::Cpu).unwrap();
    for x in [matrix(4, 1.0, 2), masked] {
        for m in [1, 3, 20] {
            check_gradient(&x, 1e-8, |x| sinkhorn(x, &fixed(m)).unwrap().plan);
        }
        check_gradient(&x, 1e-7, |x| {
            sinkhorn(x, &until(1e-13, SinkhornGradient::Implicit)).unwrap().plan
        });
        check_gradient(&x, 1e-7, |x| {
            sinkhorn(x, &until(1e-13, SinkhornGradient::Unrolled)).unwrap().plan
        });
    }
    let options = SinkhornOptions {
        marginals: Some((vec![0.2, 0.5, 0.3], vec![0.6, 0.4])),
        ..until(1e-13, SinkhornGradient::Implicit)
    };
    let x = Tensor::new(&[[0.3, -0.2], [0.9, 0.1], [-0.5, 0.7]], &Device::Cpu).unwrap();
    check_gradient(&x, 1e-7, |x| sinkhorn(x, &options).unwrap().plan);
    let rows = sinkhorn(&x, &options).unwrap().plan.sum(1).unwrap();
    assert!(list(&rows).iter().zip([0.2, 0.5, 0.3]).all(|(a, b)| (a - b).abs() < 1e-12));
    // The temperature of the relaxed permutation.
    let tau = Tensor::new(&[[[0.7]]], &Device::Cpu).unwrap();
    check_gradient(&tau, 1e-7, |tau| {
        let options = until(1e-13, SinkhornGradient::Implicit);
        gumbel_sinkhorn(&matrix(3, 1.0, 1), tau.clone(), &options, false, &mut Generator::new(1))
            .unwrap()
            .plan
    });
}

#[test]
fn near_a_permutation_the_implicit_gradient_is_finite_and_small() {
    let x = Var::from_tensor(&matrix(4, 200.0, 1)).unwrap();
    let plan = sinkhorn(&x, &SinkhornOptions::default()).unwrap().plan;
    let gradient = (&plan * &matrix(4, 1.0, 1)).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(list(gradient.get(&x).unwrap()).iter().all(|d| d.abs() < 1e-6));
}

#[test]
fn hard_samples_are_matchings_of_the_same_noise_and_the_limit() {
    let x = matrix(4, 1.0, 50);
    let options = until(1e-6, SinkhornGradient::Implicit);
    let hard = gumbel_sinkhorn(&x, 1.0, &options, true, &mut Generator::new(2)).unwrap().plan;
    let soft = gumbel_sinkhorn(&x, 0.02, &options, false, &mut Generator::new(2)).unwrap().plan;
    let near = |(a, b): (&[f64], &[f64])| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.01);
    let same =
        list(&hard).chunks(16).zip(list(&soft).chunks(16)).filter(|pair| near(*pair)).count();
    assert!(same >= 40, "{same}");
    assert!(list(&hard).iter().all(|p| *p == 0.0 || *p == 1.0));
}

#[test]
fn matrices_without_a_permutation_and_bad_marginals_are_refused() {
    // Rows 0 and 1 both have only column 0.
    let x = Tensor::new(
        &[[[0.0; 3]; 3], [[0.0, NONE, NONE], [0.0, NONE, NONE], [0.0; 3]]],
        &Device::Cpu,
    )
    .unwrap();
    for error in
        [sinkhorn(&x, &SinkhornOptions::default()).unwrap_err(), crate::matching(&x).unwrap_err()]
    {
        assert!(
            matches!(error, Error::NoStructure { what: "perfect matching", row: 1, index: 1 }),
            "{error}"
        );
    }
    let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    assert!(matches!(
        sinkhorn(&x, &SinkhornOptions::default()),
        Err(Error::UnexpectedShape { .. })
    ));
    let with = |rows: &[f64], columns: &[f64]| {
        let marginals = Some((rows.to_vec(), columns.to_vec()));
        sinkhorn(&x, &SinkhornOptions { marginals, ..Default::default() })
    };
    assert!(matches!(
        with(&[1.0, 2.0], &[1.0, 1.0, 1.5]),
        Err(Error::InvalidParameter { value: 3.5, .. })
    ));
    assert!(matches!(
        with(&[1.0, 0.0], &[0.5, 0.25, 0.25]),
        Err(Error::InvalidParameter { value: 0.0, .. })
    ));
    assert!(matches!(with(&[1.0], &[1.0]), Err(Error::ShapeMismatch { .. })));
    assert!(matches!(sinkhorn(&matrix(2, 1.0, 1), &fixed(0)), Err(Error::InvalidParameter { .. })));
    let one = Tensor::new(&[[[5f32]]], &Device::Cpu).unwrap();
    assert_eq!(list(&sinkhorn(&one, &SinkhornOptions::default()).unwrap().plan), [1.0]);
    let empty = Tensor::zeros((0, 3, 3), DType::F32, &Device::Cpu).unwrap();
    let result =
        sinkhorn(&empty, &SinkhornOptions::default()).unwrap().require_converged().unwrap();
    assert_eq!(result.plan.dims(), [0, 3, 3]);
    assert_eq!(crate::matching(&empty).unwrap().dims(), [0, 3]);
}
