//! Many runs as one: the cells of a grid, each an ordinary run folder, and the workers that train them.

pub(crate) mod cell;
mod claim;
pub(crate) mod grid;
mod progress;
pub(crate) mod rank;
pub(crate) mod table;
mod workers;

pub(crate) use cell::{Cell, End};
pub(crate) use workers::{Crew, run_cells};
