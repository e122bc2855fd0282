//! Masks at work: a policy that can only choose the moves that are legal where it stands.
//!
//! An agent walks on a 5x5 grid with walls, from any cell to the goal; each step costs 1. The policy
//! is a table of logits per cell, trained by REINFORCE with a baseline per cell, from the
//! log-probabilities of the masked categorical distribution.
//!
//! ```sh
//! cargo run --release -p gumbel-core --example masked_policy
//! ```

#![allow(clippy::print_stdout, reason = "an example's result is what it prints")]

use candle_core::{DType, Device, Tensor, Var};
use gumbel_core::distributions::Categorical;
use gumbel_core::{Generator, Result, mask_logits};

const MAP: [&[u8; 5]; 5] = [b".....", b".###.", b"...#.", b".#.#.", b".#..G"];
const SIDE: usize = 5;
const MOVES: [(isize, isize); 4] = [(-1, 0), (0, 1), (1, 0), (0, -1)];
const ARROWS: [char; 4] = ['^', '>', 'v', '<'];
const AGENTS: usize = 64;
const LONGEST_WALK: usize = 40;
const UPDATES: usize = 300;
const LEARNING_RATE: f64 = 0.5;

/// The cell a move leads to, if it is on the grid and no wall.
fn step(cell: usize, action: usize) -> Option<usize> {
    let row = (cell / SIDE).checked_add_signed(MOVES[action].0).filter(|&r| r < SIDE)?;
    let column = (cell % SIDE).checked_add_signed(MOVES[action].1).filter(|&c| c < SIDE)?;
    (MAP[row][column] != b'#').then_some(row * SIDE + column)
}

fn is_goal(cell: usize) -> bool {
    MAP[cell / SIDE][cell % SIDE] == b'G'
}

fn main() -> Result<()> {
    let device = Device::Cpu;
    let cells: Vec<usize> = (0..SIDE * SIDE).filter(|c| MAP[c / SIDE][c % SIDE] != b'#').collect();
    let is_legal = |i: usize| u8::from(step(i / 4, i % 4).is_some());
    let legal: Vec<u8> = (0..SIDE * SIDE * 4).map(is_legal).collect();
    let legal = Tensor::from_vec(legal, (SIDE * SIDE, 4), &device)?;
    let policy = Var::zeros((SIDE * SIDE, 4), DType::F32, &device)?;
    let mut values = [0f32; SIDE * SIDE];
    let mut g = Generator::new(1);

    for update in 0..=UPDATES {
        let logits = mask_logits(&policy, &legal, 1)?;
        let (mut at, mut walks) = (start(&cells), vec![Vec::new(); AGENTS]);
        for _ in 0..LONGEST_WALK {
            let here = Tensor::from_vec(
                at.iter().map(|&c| c as u32).collect::<Vec<_>>(),
                AGENTS,
                &device,
            )?;
            let d = Categorical::from_logits(&logits.detach().index_select(&here, 0)?)?;
            let actions = d.sample((), &mut g)?.to_vec1::<u32>()?;
            for ((cell, walk), action) in at.iter_mut().zip(&mut walks).zip(actions) {
                if let (false, Some(next)) = (is_goal(*cell), step(*cell, action as usize)) {
                    walk.push((*cell, action));
                    *cell = next;
                }
            }
        }
        let length = walks.iter().map(Vec::len).sum::<usize>() as f32 / AGENTS as f32;
        if update % 50 == 0 {
            println!("update {update:>3}: {length:.2} steps to the goal");
        }
        if update == UPDATES {
            break;
        }

        // One entry per step taken: where, what, and how much better than usual the rest of the walk was.
        let (mut visited, mut taken, mut advantages) = (Vec::new(), Vec::new(), Vec::new());
        for walk in &walks {
            for (t, &(cell, action)) in walk.iter().enumerate() {
                let to_go = -((walk.len() - t) as f32);
                visited.push(cell as u32);
                taken.push(action);
                advantages.push(to_go - values[cell]);
                values[cell] += 0.05 * (to_go - values[cell]);
            }
        }
        let n = taken.len();
        let rows = logits.index_select(&Tensor::from_vec(visited, n, &device)?, 0)?;
        let d = Categorical::from_logits(&rows)?;
        let log_probs = d.log_prob(&Tensor::from_vec(taken, n, &device)?)?;
        let advantages = Tensor::from_vec(advantages, n, &device)?;
        let loss = ((log_probs * advantages)?.sum_all()? * (-1.0 / AGENTS as f64))?;
        if let Some(grad) = loss.backward()?.get(&policy) {
            policy.set(&(policy.as_tensor() - (grad * LEARNING_RATE)?)?)?;
        }
    }

    let best =
        Categorical::from_logits(&mask_logits(&policy, &legal, 1)?)?.mode()?.to_vec1::<u32>()?;
    for (cell, &action) in best.iter().enumerate() {
        let tile = MAP[cell / SIDE][cell % SIDE];
        print!("{} ", if tile == b'.' { ARROWS[action as usize] } else { tile as char });
        if cell % SIDE == SIDE - 1 {
            println!();
        }
    }
    Ok(())
}

/// The agents spread over all cells.
fn start(cells: &[usize]) -> Vec<usize> {
    cells.iter().copied().cycle().take(AGENTS).collect()
}
