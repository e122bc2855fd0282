//! Pictures of relaxed structures from low to high temperature: a permutation in three relaxations, and a spanning tree.
//!
//! ```sh
//! cargo run --release -p gumbel-core --example relaxed_orders_and_trees -- docs/images
//! ```
//!
//! One draw of noise for every temperature: what is seen to change is τ. Left is near the exact sample, right near the mean of all.

#![expect(clippy::print_stdout, reason = "an example reports to the terminal")]

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use gumbel_core::structure::{SpanningTree, Structure};
use gumbel_core::{
    Generator, Result, SinkhornOptions, Temperature, gumbel_noise, gumbel_sinkhorn, neural_sort,
    soft_sort,
};
use image::{Rgb, RgbImage};

const TEMPERATURES: [f64; 5] = [0.05, 0.3, 1.0, 3.0, 30.0];
const N: u32 = 8;
const CELL: u32 = 16;
const GAP: u32 = 16;
const SIDE: u32 = N * CELL;
const WHITE: [u8; 3] = [255, 255, 255];
const INK: [u8; 3] = [20, 60, 120];

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    for (name, picture) in [("relaxed_permutation", permutations()?), ("relaxed_tree", trees()?)] {
        let path = folder.join(name).with_extension("png");
        picture.save(&path)?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Rows: SoftSort, NeuralSort and Sinkhorn.
fn permutations() -> Result<RgbImage> {
    let mut g = Generator::new(5);
    let scores = gumbel_noise((1, N as usize), DType::F64, &Device::Cpu, &mut g)?;
    let pairs = gumbel_noise((1, N as usize, N as usize), DType::F64, &Device::Cpu, &mut g)?;
    let mut picture = blank(3);
    for (column, tau) in TEMPERATURES.into_iter().enumerate() {
        let matched =
            gumbel_sinkhorn(&pairs, tau, &SinkhornOptions::default(), false, &mut g.clone())?.plan;
        let all = [soft_sort(&scores, tau, 1, false)?, neural_sort(&scores, tau, false)?, matched];
        for (row, matrix) in all.iter().enumerate() {
            let (left, top) = corner(column as u32, row as u32);
            for (at, p) in values(matrix)?.into_iter().enumerate() {
                let (x, y) = (left + at as u32 % N * CELL, top + at as u32 / N * CELL);
                for (dx, dy) in (0..CELL - 1).flat_map(|dx| (0..CELL - 1).map(move |dy| (dx, dy))) {
                    picture.put_pixel(x + dx, y + dy, shade(p));
                }
            }
        }
    }
    Ok(picture)
}

/// Vertices on a circle, edges as dark as they are present.
fn trees() -> Result<RgbImage> {
    let mut g = Generator::new(3);
    let n_edges = (N * (N - 1) / 2) as usize;
    let logits = Tensor::zeros((1, n_edges), DType::F64, &Device::Cpu)?;
    let scores = SpanningTree.perturb(&logits, &mut g)?;
    let mut picture = blank(1);
    for (column, tau) in TEMPERATURES.into_iter().enumerate() {
        let edges = SpanningTree.marginals(&scores, &Temperature::Fixed(tau))?;
        let matrix = values(&SpanningTree::adjacency(&edges)?)?;
        let (left, top) = corner(column as u32, 0);
        let place = |v: u32| {
            let angle = f64::from(v) * std::f64::consts::TAU / f64::from(N) + 0.2;
            let radius = f64::from(SIDE) * 0.45;
            let centre = f64::from(SIDE) * 0.5;
            (
                f64::from(left) + centre + radius * angle.cos(),
                f64::from(top) + centre + radius * angle.sin(),
            )
        };
        // The palest first, so that no edge hides a darker one.
        let mut pairs: Vec<(u32, u32)> =
            (0..N).flat_map(|u| (u + 1..N).map(move |v| (u, v))).collect();
        let weight = |&(u, v): &(u32, u32)| matrix[(u * N + v) as usize];
        pairs.sort_by(|a, b| weight(a).total_cmp(&weight(b)));
        for pair in &pairs {
            line(&mut picture, place(pair.0), place(pair.1), weight(pair));
        }
        (0..N).for_each(|v| dot(&mut picture, place(v), 4.0, 1.0));
    }
    Ok(picture)
}

fn blank(rows: u32) -> RgbImage {
    let (width, height) = corner(TEMPERATURES.len() as u32, rows);
    RgbImage::from_pixel(width, height, Rgb(WHITE))
}

fn corner(column: u32, row: u32) -> (u32, u32) {
    (GAP + column * (SIDE + GAP), GAP + row * (SIDE + GAP))
}

/// From nearly white to ink.
fn shade(p: f64) -> Rgb<u8> {
    let mix = |a: u8, b: u8| (f64::from(a) * (1.0 - p) + f64::from(b) * p).round() as u8;
    Rgb([mix(238, INK[0]), mix(241, INK[1]), mix(246, INK[2])])
}

fn line(picture: &mut RgbImage, from: (f64, f64), to: (f64, f64), p: f64) {
    for step in 0..=400 {
        let t = f64::from(step) / 400.0;
        dot(picture, (from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1)), 1.3, p);
    }
}

fn dot(picture: &mut RgbImage, (x, y): (f64, f64), radius: f64, p: f64) {
    let reach = radius.ceil() as i64;
    for (dx, dy) in (-reach..=reach).flat_map(|dx| (-reach..=reach).map(move |dy| (dx, dy))) {
        let (px, py) = (x.round() + dx as f64, y.round() + dy as f64);
        if (px - x).hypot(py - y) <= radius {
            picture.put_pixel(px as u32, py as u32, shade(p));
        }
    }
}

fn values(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}
