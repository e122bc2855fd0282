//! No operation reads or writes beside its operands: each lies flush against a page that may not be touched.
//!
//! A sanitiser looks at whole allocations and not at what vector instructions do within one; a protected page ends the
//! program at the first byte.
#![allow(unsafe_code, reason = "pages are mapped and protected by the system's own calls")]

use std::ptr::null_mut;
use std::slice::from_raw_parts_mut;

use crate::isa::Isa;
use crate::*;

/// Values between two protected pages, at the end or the start of the page between them.
struct Fenced {
    map: *mut u8,
    map_len: usize,
    start: usize,
    len: usize,
}

impl Fenced {
    fn new(values: &[f32], at_end: bool) -> Self {
        // SAFETY: asks for the size of a page, nothing else.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let bytes = size_of_val(values);
        let inner = bytes.div_ceil(page).max(1) * page;
        let map_len = inner + 2 * page;
        let (none, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping at a place that the system chooses.
        let map = unsafe { libc::mmap(null_mut(), map_len, none, flags, -1, 0) }.cast::<u8>();
        assert_ne!(map.cast(), libc::MAP_FAILED);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the pages between the first and the last of that mapping.
        let changed = unsafe { libc::mprotect(map.add(page).cast(), inner, access) };
        assert_eq!(changed, 0);
        let start = page + if at_end { inner - bytes } else { 0 };
        let mut fenced = Self { map, map_len, start, len: values.len() };
        fenced.get().copy_from_slice(values);
        fenced
    }

    fn get(&mut self) -> &mut [f32] {
        // SAFETY: `len` values from `start` on lie in the pages that may be used, zeroed by the system, aligned to 4
        // bytes since pages and lengths are, and borrowed no longer than `self`.
        unsafe { from_raw_parts_mut(self.map.add(self.start).cast(), self.len) }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, to which no borrow is left.
        let unmapped = unsafe { libc::munmap(self.map.cast(), self.map_len) };
        assert_eq!(unmapped, 0);
    }
}

/// Numbers, and where they lie: random shapes with the awkward ones, alternately at the end and the start of a page.
struct Cases {
    state: u64,
    at_end: bool,
}

impl Cases {
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.state >> 33) as usize % n
    }

    fn size(&mut self) -> usize {
        match self.below(3) {
            0 => [0, 1, 2, 12, 15, 16, 17, 31, 32, 33][self.below(10)],
            1 => self.below(20),
            _ => self.below(120),
        }
    }

    fn operand(&mut self, len: usize) -> Fenced {
        const ODD: [f32; 6] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -0.0, 3e38];
        let values: Vec<f32> = (0..len)
            .map(|_| match self.below(40) {
                0 => ODD[self.below(ODD.len())],
                x => x as f32 / 10.0 - 2.0,
            })
            .collect();
        self.at_end = !self.at_end;
        Fenced::new(&values, self.at_end)
    }

    fn operands<const N: usize>(&mut self, lens: [usize; N]) -> [Fenced; N] {
        lens.map(|len| self.operand(len))
    }
}

fn rows(cases: &mut Cases) {
    let (n, k) = (cases.below(9), cases.size().max(1));
    let tau = [1.0, 0.1, 0.0, -1.0, f32::NAN, 1e30][cases.below(6)];
    let [mut a, mut b, mut c, mut d] = cases.operands([n * k; 4]);
    let mut of_rows = cases.operand(n);
    let noise = GumbelStream::new(WordStream::new(1, 2), WordStream::new(1, 3));
    let position = cases.below(1000) as u64;
    softmax(k, tau, a.get(), b.get()).unwrap();
    softmax_vjp(k, tau, a.get(), b.get(), c.get()).unwrap();
    log_softmax(k, a.get(), b.get()).unwrap();
    log_softmax_vjp(k, a.get(), b.get(), c.get()).unwrap();
    kl_to_uniform(k, 1.0, a.get(), of_rows.get(), b.get()).unwrap();
    neg_entropy(k, a.get(), of_rows.get(), b.get()).unwrap();
    bernoulli_nll(k, 1.0, a.get(), b.get(), of_rows.get(), c.get()).unwrap();
    continuous_bernoulli_nll(k, 1.0, a.get(), b.get(), of_rows.get(), c.get()).unwrap();
    discretised_logistic_nll(k, 1.0, a.get(), b.get(), of_rows.get(), c.get()).unwrap();
    perturb(k, a.get(), b.get(), c.get()).unwrap();
    // A row without a class is an error of these; what they touch is what counts.
    let _ = gumbel_softmax(k, tau, a.get(), noise, position, b.get());
    let _ = gumbel_one_hot(k, a.get(), noise, position, b.get());
    conditional_softmax_vjp(k, tau, &[noise], position, a.get(), b.get(), c.get(), d.get())
        .unwrap();
    one_hot_argmax(k, a.get(), b.get()).unwrap();
    for function in [exp, ln, softplus, sigmoid] {
        function(a.get(), b.get()).unwrap();
    }
    largest_magnitude(a.get());
    noise.fill(position, d.get());
    let options = AdamOptions { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8 };
    let parameter = AdamParameter { value: a.get(), exp_avg: b.get(), exp_avg_sq: c.get() };
    adam_update(&AdamStep::adam(options, 3), parameter, d.get()).unwrap();
}

fn products(cases: &mut Cases) {
    let [batch, inputs, outputs] = [(); 3].map(|()| cases.size());
    let shape = LinearShape { batch, inputs, outputs };
    let precision = [Precision::F32, Precision::Bf16][cases.below(2)];
    let [mut x, mut weight, mut y] =
        cases.operands([batch * inputs, outputs * inputs, batch * outputs]);
    let [mut dx, mut bias] = cases.operands([batch * inputs, outputs]);
    linear_forward(
        precision,
        shape,
        x.get(),
        weight.get(),
        Some(bias.get()),
        Activation::Relu,
        y.get(),
    )
    .unwrap();
    linear_input_gradient(precision, shape, y.get(), weight.get(), Some(x.get()), dx.get())
        .unwrap();
    linear_weight_gradient(
        precision,
        shape,
        y.get(),
        x.get(),
        true,
        weight.get(),
        Some(bias.get()),
    )
    .unwrap();
}

fn convolutions(cases: &mut Cases) {
    let shape = ConvShape {
        batch: cases.below(4),
        in_channels: cases.below(6),
        in_rows: 3 + cases.below(12),
        in_cols: 3 + cases.below(20),
        out_channels: cases.below(20),
        kernel: 1 + cases.below(3),
        stride: 1 + cases.below(3),
        padding: cases.below(2),
    };
    let image = shape.in_rows * shape.in_cols;
    let out = shape.out_rows().unwrap() * shape.out_cols().unwrap();
    let [mut x, mut dx] = cases.operands([shape.batch * shape.in_channels * image; 2]);
    let mut y = cases.operand(shape.batch * shape.out_channels * out);
    let mut weight = cases.operand(shape.out_channels * shape.in_channels * shape.kernel.pow(2));
    let [mut bias, mut in_bias] = cases.operands([shape.out_channels, shape.in_channels]);
    let (relu, none) = (Activation::Relu, None);
    conv2d_forward(shape, x.get(), weight.get(), Some(bias.get()), relu, none, y.get()).unwrap();
    let relu_output = Some(&*x.get());
    conv2d_adjoint(shape, y.get(), weight.get(), Some(in_bias.get()), relu, relu_output, dx.get())
        .unwrap();
    conv2d_weight_gradient(shape, x.get(), y.get(), true, weight.get()).unwrap();
    channel_sums((shape.batch, shape.out_channels, out), y.get(), true, bias.get()).unwrap();
}

fn structures(cases: &mut Cases) {
    let (rows, steps, labels) = (cases.below(3), 1 + cases.below(4), 1 + cases.below(21));
    let lengths: Vec<usize> = (0..rows).map(|_| 1 + cases.below(steps)).collect();
    let shape = ChainShape { steps, labels, lengths: Some(&lengths) };
    let cells = rows * steps * labels * labels;
    let [mut x, mut grad, mut out] = cases.operands([cells; 3]);
    let mut relaxed = cases.operand(rows * steps * labels);
    let mut noise = cases.operand(rows * steps * labels);
    let (mut choices, mut totals) = (vec![0; rows * steps], vec![0.0; rows]);
    chain_log_partition(shape, x.get(), &mut totals).unwrap();
    chain_marginals(shape, x.get(), out.get()).unwrap();
    chain_vjp(shape, x.get(), grad.get(), out.get()).unwrap();
    chain_sample(shape, x.get(), &vec![0.5; rows * steps], &mut choices).unwrap();
    chain_mode(shape, x.get(), &mut choices).unwrap();
    chain_dead_ends(shape, x.get(), &mut vec![0; rows]).unwrap();
    chain_gumbel_crf(shape, 0.7, x.get(), noise.get(), relaxed.get(), &mut choices).unwrap();
    let draws = (&*relaxed.get(), choices.as_slice());
    chain_gumbel_crf_vjp(shape, 0.7, x.get(), draws, noise.get(), out.get()).unwrap();
}

#[test]
fn no_operation_touches_what_lies_beside_its_operands() {
    // `CATVAE_ROUNDS` asks for more.
    let rounds = std::env::var("CATVAE_ROUNDS").map_or(150, |n| n.parse().unwrap());
    for isa in Isa::available() {
        let mut cases = Cases { state: 5, at_end: false };
        isa.force(|| {
            for _ in 0..rounds {
                rows(&mut cases);
                products(&mut cases);
                convolutions(&mut cases);
                structures(&mut cases);
            }
        });
        eprintln!("{}: {rounds} rounds", isa.name());
    }
}

#[test]
#[ignore = "it ends the program, as it must: a test of the fence itself"]
fn the_fence_holds() {
    let mut fenced = Fenced::new(&[1.0; 3], true);
    let beyond = fenced.get().as_ptr().wrapping_add(3);
    // SAFETY: none; this is the access that the fence is for.
    std::hint::black_box(unsafe { beyond.read_volatile() });
}

#[test]
fn absurd_shapes_are_length_errors() {
    let huge = [usize::MAX, 1 << 62, 1 << 63, (1 << 33) + 1, 3 << 61];
    let few = [0.0_f32; 4];
    let n_values = |a: usize, b: usize| a.checked_mul(b).filter(|&n| n <= few.len());
    let mut n_shapes = 0;
    for &a in &huge {
        for b in [2, 4, 1 << 31, 1 << 62, usize::MAX] {
            for [batch, inputs, outputs] in [[a, b, 1], [a, 1, b], [1, a, b], [a, b, 0], [a, 0, b]]
            {
                let sizes =
                    [n_values(batch, inputs), n_values(outputs, inputs), n_values(batch, outputs)];
                let [x, weight, y] = sizes.map(|n| &few[..n.unwrap_or(4)]);
                let shape = LinearShape { batch, inputs, outputs };
                let (none, precision) = (Activation::Identity, Precision::F32);
                let mut out = [0.0; 4];
                n_shapes += 1;
                if sizes[0].is_some() && sizes[1].is_some() && sizes[2].is_some() {
                    // It fits after all, since a size is 0: nothing is computed, and nothing made.
                    linear_forward(precision, shape, x, weight, None, none, &mut out[..y.len()])
                        .unwrap();
                    linear_input_gradient(precision, shape, y, weight, None, &mut out[..x.len()])
                        .unwrap();
                    let d_weight = &mut out[..weight.len()];
                    linear_weight_gradient(precision, shape, y, x, false, d_weight, None).unwrap();
                    continue;
                }
                linear_forward(precision, shape, x, weight, None, none, &mut out[..y.len()])
                    .unwrap_err();
                linear_input_gradient(precision, shape, y, weight, None, &mut out[..x.len()])
                    .unwrap_err();
                let d_weight = &mut out[..weight.len()];
                linear_weight_gradient(precision, shape, y, x, false, d_weight, None).unwrap_err();
            }
            let shape = ConvShape {
                batch: a,
                in_channels: b,
                in_rows: 3,
                in_cols: b,
                out_channels: 1,
                kernel: 2,
                stride: 1,
                padding: 0,
            };
            let none = Activation::Identity;
            let mut out = [0.0; 4];
            conv2d_forward(shape, &few, &few, None, none, None, &mut out).unwrap_err();
            conv2d_adjoint(shape, &few, &few, None, none, None, &mut out).unwrap_err();
            conv2d_weight_gradient(shape, &few, &few, false, &mut out).unwrap_err();
        }
        softmax(a, 1.0, &few, &mut [0.0; 4]).unwrap_err();
        log_softmax(a, &few, &mut [0.0; 4]).unwrap_err();
        kl_to_uniform(a, 1.0, &few, &mut [0.0; 1], &mut [0.0; 4]).unwrap_err();
        n_shapes += 1;
    }
    assert!(n_shapes > 100);
    // Positions wrap around, in pieces as in one.
    let noise = GumbelStream::new(WordStream::new(1, 2), WordStream::new(1, 3));
    let mut whole = [0.0; 40];
    noise.fill(u64::MAX - 5, &mut whole);
    let mut pieces = [0.0; 40];
    for (i, piece) in pieces.chunks_mut(7).enumerate() {
        noise.fill((u64::MAX - 5).wrapping_add(7 * i as u64), piece);
    }
    assert_eq!(whole, pieces);
}
