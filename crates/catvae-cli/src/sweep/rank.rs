//! Which part of the cells is this process's: a shard that was named, or its rank under a launcher.

use std::str::FromStr;

use anyhow::{Context, Result, ensure};

/// The i-th of n parts, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

/// The value of `--shard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shard {
    /// The rank that the launcher gave.
    Auto,
    Part(Part),
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let numbers =
            text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((index, count)) if index < count => Ok(Self::Part(Part { index, count })),
            _ => Err("i/n, such as 0/4 to 3/4, or auto".to_owned()),
        }
    }
}

/// A variable of the environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where this process stands among those that a launcher started, if one did: ranks of Open MPI, of PMI (MPICH, Intel
/// MPI), of torchrun, of `srun`, and tasks of a job array, which may themselves hold ranks.
///
/// # Errors
/// Variables that are no numbers, or do not fit together.
pub(crate) fn of_launcher(variable: Variable) -> Result<Option<Part>> {
    // The launcher nearest to us wins: mpirun sets its variables inside of a Slurm job, too. A batch script itself has
    // SLURM_PROCID=0 and the SLURM_NTASKS of steps to come, so a step is known by what `srun` alone sets.
    let ranks = [
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("PMI_RANK", "PMI_SIZE"),
        ("RANK", "WORLD_SIZE"),
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ];
    let mut rank = None;
    for (index, count) in ranks {
        if variable(index).is_some() && variable(count).is_some() {
            rank = part(variable, index, count)?;
            break;
        }
    }
    let array = of_array(variable)?;
    Ok(match (array, rank) {
        (Some(task), Some(rank)) => Some(Part {
            index: task.index * rank.count + rank.index,
            count: task.count.saturating_mul(rank.count),
        }),
        (task, rank) => task.or(rank),
    })
}

fn of_array(variable: Variable) -> Result<Option<Part>> {
    if variable("SLURM_ARRAY_TASK_ID").is_none() {
        return Ok(None);
    }
    let [id, least, most, count] = ["ID", "MIN", "MAX", "COUNT"]
        .map(|name| number(variable, &format!("SLURM_ARRAY_TASK_{name}")));
    let (id, least, most, count) = (id?, least?, most?, count?);
    let step = match count {
        0 | 1 => 1,
        n => most.saturating_sub(least) / (n - 1),
    };
    let part = Part { index: id.saturating_sub(least) / step.max(1), count };
    let fits = id >= least
        && least + part.index * step == id
        && least + count.saturating_sub(1) * step == most;
    ensure!(
        fits && part.index < count,
        "the ids of the job array leave gaps of several sizes ({least} to {most}, {count} tasks): use a plain range such as --array=0-7, or \
         --shard i/n"
    );
    Ok(Some(part))
}

fn part(variable: Variable, index: &str, count: &str) -> Result<Option<Part>> {
    let part = Part { index: number(variable, index)?, count: number(variable, count)? };
    ensure!(part.index < part.count, "{index} is {}, but {count} is {}", part.index, part.count);
    Ok(Some(part))
}

fn number(variable: Variable, name: &str) -> Result<usize> {
    let text = variable(name).with_context(|| format!("{name} is not set"))?;
    text.trim().parse().ok().with_context(|| format!("{name} is {text:?}, but must be a number"))
}

/// Workers for `cores` cores: what Slurm gives a task, or a share where a launcher started several processes on this
/// machine, which may be bound to fewer cores already.
pub(crate) fn n_workers(variable: Variable, cores: usize) -> usize {
    let number = |name: &str| variable(name)?.trim().parse::<usize>().ok();
    let locals = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "LOCAL_WORLD_SIZE"];
    let n_local = locals.into_iter().find_map(number).unwrap_or(1).max(1);
    (cores / n_local).min(number("SLURM_CPUS_PER_TASK").unwrap_or(cores)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(variables: &[(&str, &str)]) -> Result<Option<Part>> {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        of_launcher(&find)
    }

    fn is(variables: &[(&str, &str)], index: usize, count: usize) {
        assert_eq!(among(variables).unwrap(), Some(Part { index, count }), "{variables:?}");
    }

    #[test]
    fn every_launcher_is_understood_and_the_nearest_wins() {
        let mpi = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")];
        let srun = [("SLURM_PROCID", "3"), ("SLURM_STEP_NUM_TASKS", "4")];
        is(&mpi, 1, 2);
        is(&srun, 3, 4);
        is(&[("PMI_RANK", "0"), ("PMI_SIZE", "8")], 0, 8);
        is(&[("RANK", "5"), ("WORLD_SIZE", "6")], 5, 6);
        is(&[mpi, srun].concat(), 1, 2);
        assert_eq!(among(&[]).unwrap(), None);
        // A batch script is not one of the tasks that it will start.
        assert_eq!(among(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]).unwrap(), None);
    }

    #[test]
    fn tasks_of_an_array_are_counted_from_its_first_and_may_hold_ranks() {
        let task = |id, least, most, count| {
            [
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_MIN", least),
                ("SLURM_ARRAY_TASK_MAX", most),
                ("SLURM_ARRAY_TASK_COUNT", count),
            ]
        };
        is(&task("3", "3", "6", "4"), 0, 4);
        is(&task("9", "1", "9", "3"), 2, 3);
        is(&task("7", "7", "7", "1"), 0, 1);
        let ranks = [("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2")];
        is(&[&task("2", "0", "2", "3")[..], &ranks].concat(), 5, 6);
        is(&task("5", "1", "9", "3"), 1, 3);
        let error = among(&task("2", "1", "9", "3")).unwrap_err().to_string();
        assert!(error.contains("--array=0-7"), "{error}");
    }

    #[test]
    fn processes_of_one_machine_share_its_cores() {
        let n = |name: &'static str, value: &'static str, cores| {
            n_workers(&|asked| (asked == name).then(|| value.to_owned()), cores)
        };
        assert_eq!(n("NONE", "", 16), 16);
        assert_eq!(n("OMPI_COMM_WORLD_LOCAL_SIZE", "4", 16), 4);
        // Bound to one core each.
        assert_eq!(n("OMPI_COMM_WORLD_LOCAL_SIZE", "4", 1), 1);
        assert_eq!(n("SLURM_CPUS_PER_TASK", "3", 16), 3);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let error = |variables: &[_]| among(variables).unwrap_err().to_string();
        assert!(
            error(&[("RANK", "2"), ("WORLD_SIZE", "2")]).contains("RANK is 2, but WORLD_SIZE is 2")
        );
        assert!(error(&[("RANK", "x"), ("WORLD_SIZE", "2")]).contains("RANK is \"x\""));
        for text in ["4/4", "1", "a/b", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        assert_eq!("1/3".parse(), Ok(Shard::Part(Part { index: 1, count: 3 })));
    }
}
