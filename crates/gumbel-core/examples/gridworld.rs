//! Learning a discrete policy: every estimator finds its way through a gridworld.
//!
//! ```sh
//! cargo run --release -p gumbel-core --example gridworld
//! ```
//!
//! A policy is one categorical choice of four moves for each of 25 cells: 25 latents of four categories. A sample of
//! all of them is a deterministic policy, and the loss is minus its expected return in a world where one move in
//! ten slips. The world's model is known and its return is differentiable in the policy, so the straight-through
//! family applies; the score-function estimators use its value alone, and would serve a simulator as well.

#![expect(clippy::print_stdout, reason = "an example reports to the terminal")]

use std::time::Instant;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use gumbel_core::Generator;
use gumbel_core::estimators::{Estimator, EstimatorState};

/// A walk starts in any of the `.` and ends at the goal `G` (+1) or in a pit `P` (-1).
const MAP: [[char; 5]; 5] = [
    ['.', '.', '.', 'P', '.'],
    ['.', 'P', '.', '.', '.'],
    ['.', '.', '.', 'P', '.'],
    ['P', '.', 'P', '.', '.'],
    ['.', '.', '.', '.', 'G'],
];
const SIDE: usize = 5;
const N_CELLS: usize = SIDE * SIDE;
/// Up, right, down, left.
const MOVES: [(isize, isize); 4] = [(-1, 0), (0, 1), (1, 0), (0, -1)];
const SLIP: f64 = 0.1;
const COST_OF_A_STEP: f64 = 0.02;
const HORIZON: usize = 20;

const BATCH: usize = 32;
const N_UPDATES: usize = 200;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let world = World::new()?;
    let (best, policy) = world.best_policy();
    println!("{}", picture(&policy));
    println!("The best policy (dynamic programming) has an expected return of {best:.3}.");
    println!("Learnt by {N_UPDATES} Adam updates of {BATCH} sampled policies each, τ = 1:\n");
    println!(
        "  estimator                    return, sampled   most probable   updates to 90 %   seconds"
    );

    let mut last = Vec::new();
    for estimator in [
        Estimator::Reinforce,
        Estimator::Rloo { samples: 4 },
        Estimator::Rebar,
        Estimator::GumbelSoftmax,
        Estimator::StGumbelSoftmax,
        Estimator::GumbelRao { draws: 10 },
        Estimator::StraightThrough,
        Estimator::ReinMax,
        Estimator::Fini,
    ] {
        let start = Instant::now();
        let learnt = learn(estimator, &world, 0.9 * best)?;
        let reached = learnt.reached.map_or("never".to_owned(), |updates| updates.to_string());
        println!(
            "  {:<28} {:>15.3} {:>15.3} {reached:>17} {:>9.1}",
            estimator.to_string(),
            learnt.sampled,
            learnt.greedy,
            start.elapsed().as_secs_f64()
        );
        last = learnt.policy;
    }
    println!("\nWhat the last of them learnt:\n\n{}", picture(&last));
    Ok(())
}

struct Learnt {
    /// Mean return of policies sampled at the end.
    sampled: f64,
    /// Return of the most probable policy.
    greedy: f64,
    policy: Vec<usize>,
    /// When the mean return of a batch first passed the threshold.
    reached: Option<usize>,
}

fn learn(estimator: Estimator, world: &World, threshold: f64) -> gumbel_core::Result<Learnt> {
    let logits = Var::zeros((1, N_CELLS, MOVES.len()), DType::F32, &Device::Cpu)?;
    let params = ParamsAdamW { lr: 0.1, weight_decay: 0.0, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(vec![logits.clone()], params)?;
    let mut state = EstimatorState::default();
    let mut g = Generator::new(0);
    let mut reached = None;
    let mut sampled = 0.0;
    for update in 1..=N_UPDATES {
        let batch = logits.broadcast_as((BATCH, N_CELLS, MOVES.len()))?;
        let mut loss = |policy: &Tensor| -> gumbel_core::Result<Tensor> {
            Ok(world.expected_return(policy)?.neg()?)
        };
        let objective = estimator.objective(&mut state, &batch, 1.0, &mut g, &mut loss)?;
        sampled = -f64::from(objective.loss.mean_all()?.to_scalar::<f32>()?);
        if sampled >= threshold {
            reached = reached.or(Some(update));
        }
        optimizer.backward_step(&objective.surrogate.mean_all()?)?;
    }
    let policy = logits.argmax(D::Minus1)?;
    let greedy = gumbel_core::one_hot(&policy, MOVES.len(), DType::F32)?;
    let greedy = f64::from(world.expected_return(&greedy)?.to_vec1::<f32>()?[0]);
    let policy = policy.flatten_all()?.to_vec1::<u32>()?.into_iter().map(|a| a as usize).collect();
    Ok(Learnt { sampled, greedy, policy, reached })
}

struct World {
    /// Probability of the next cell for a cell and a move; nothing leaves an end.
    next: Vec<[[f64; N_CELLS]; 4]>,
    /// What entering a cell pays.
    reward: Vec<f64>,
    /// `next` as a matrix, (cells x moves, cells), and `reward` as a column.
    transitions: Tensor,
    rewards: Tensor,
}

impl World {
    fn new() -> Result<Self> {
        let mut next = vec![[[0.0; N_CELLS]; 4]; N_CELLS];
        for cell in (0..N_CELLS).filter(|&cell| !is_end(cell)) {
            for (action, row) in next[cell].iter_mut().enumerate() {
                row[after(cell, action)] += 1.0 - SLIP;
                for slipped in 0..MOVES.len() {
                    row[after(cell, slipped)] += SLIP / MOVES.len() as f64;
                }
            }
        }
        let pays = |cell: usize| match MAP[cell / SIDE][cell % SIDE] {
            'G' => 1.0 - COST_OF_A_STEP,
            'P' => -1.0 - COST_OF_A_STEP,
            _ => -COST_OF_A_STEP,
        };
        let reward: Vec<f64> = (0..N_CELLS).map(pays).collect();
        let flat: Vec<f32> = next.iter().flatten().flatten().map(|&p| p as f32).collect();
        let transitions = Tensor::from_vec(flat, (N_CELLS * MOVES.len(), N_CELLS), &Device::Cpu)?;
        let column = reward.iter().map(|&r| r as f32).collect::<Vec<_>>();
        let rewards = Tensor::from_vec(column, (N_CELLS, 1), &Device::Cpu)?;
        Ok(Self { next, reward, transitions, rewards })
    }

    /// The expected return of policies `(batch, cells, moves)`, `(batch,)`: where the walk is, as a distribution
    /// over cells, is pushed through the policy and the world step by step.
    fn expected_return(&self, policy: &Tensor) -> Result<Tensor> {
        let batch = policy.dim(0)?;
        let start: Vec<f32> = starts().iter().map(|&p| p as f32).collect();
        let mut here = Tensor::new(start, &Device::Cpu)?.broadcast_as((batch, N_CELLS))?;
        let mut total = Tensor::zeros((batch, 1), DType::F32, &Device::Cpu)?;
        for _ in 0..HORIZON {
            let chosen = policy.broadcast_mul(&here.unsqueeze(2)?)?.flatten_from(1)?;
            here = chosen.matmul(&self.transitions)?;
            total = (total + here.matmul(&self.rewards)?)?;
        }
        total.squeeze(1)
    }

    /// Value iteration: the best expected return, and a policy that has it.
    fn best_policy(&self) -> (f64, Vec<usize>) {
        let mut value = vec![0.0; N_CELLS];
        let mut policy = vec![0; N_CELLS];
        for _ in 0..HORIZON {
            let of = |cell: usize, action: usize| -> f64 {
                let row = &self.next[cell][action];
                (0..N_CELLS).map(|to| row[to] * (self.reward[to] + value[to])).sum()
            };
            let best = |cell| (0..MOVES.len()).max_by(|&a, &b| of(cell, a).total_cmp(&of(cell, b)));
            policy = (0..N_CELLS).map(|cell| best(cell).unwrap_or(0)).collect();
            value = policy.iter().enumerate().map(|(cell, &action)| of(cell, action)).collect();
        }
        (starts().iter().zip(&value).map(|(p, v)| p * v).sum(), policy)
    }
}

/// Where a walk starts, as a distribution over cells.
fn starts() -> Vec<f64> {
    let open = (0..N_CELLS).filter(|&cell| !is_end(cell)).count() as f64;
    (0..N_CELLS).map(|cell| if is_end(cell) { 0.0 } else { 1.0 / open }).collect()
}

fn is_end(cell: usize) -> bool {
    matches!(MAP[cell / SIDE][cell % SIDE], 'G' | 'P')
}

/// The cell a move leads to; at the wall it stays.
fn after(cell: usize, action: usize) -> usize {
    let (down, right) = MOVES[action];
    let row = (cell / SIDE).saturating_add_signed(down).min(SIDE - 1);
    let column = (cell % SIDE).saturating_add_signed(right).min(SIDE - 1);
    row * SIDE + column
}

/// The map with the policy's moves as arrows.
fn picture(policy: &[usize]) -> String {
    let symbol = |cell: usize| match MAP[cell / SIDE][cell % SIDE] {
        end @ ('G' | 'P') => end,
        _ => ['↑', '→', '↓', '←'][policy[cell]],
    };
    let line = |row: usize| {
        let cells: Vec<String> = (0..SIDE).map(|c| symbol(row * SIDE + c).to_string()).collect();
        format!("    {}\n", cells.join(" "))
    };
    (0..SIDE).map(line).collect()
}
