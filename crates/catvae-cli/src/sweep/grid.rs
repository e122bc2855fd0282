//! A grid: flags of `catvae train` with lists of values, on the command line or in a file.
//!
//! ```toml
//! [settings]            # the same in every cell
//! dataset = "mnist"
//! no-unrelaxed = true
//! [grid]                # every combination of these
//! temperature = [0.5, 1]
//! seed = "0..4"         # 0, 1, 2, 3, 4
//! [[variants]]          # and each of these sets of flags
//! name = "reinmax"
//! estimator = "reinmax"
//! [[variants]]
//! name = "rao"
//! estimator = "reinmax-rao:draws=100"
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use toml::{Table, Value};

use crate::args::TrainArgs;

/// Cells beyond which a grid is a slip.
const MOST_CELLS: usize = 100_000;
/// What a cell has before its flags: a thousand cells would fill a disk with checkpoints that nobody goes back to.
const DEFAULTS: &str = "--keep-checkpoints=2";
const SEED: &str = "seed";

/// Flags and their values as text; a switch is `true` or `false`.
type Settings = BTreeMap<String, String>;

/// What differs between the cells of a sweep, and what does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Grid {
    settings: Settings,
    axes: BTreeMap<String, Vec<String>>,
    variants: Vec<Variant>,
}

#[derive(Clone, Debug, PartialEq)]
struct Variant {
    name: Option<String>,
    settings: Settings,
}

/// A cell before its data are loaded.
#[derive(Debug)]
pub(crate) struct Sketch {
    /// The name of its folder: what differs.
    pub(crate) name: String,
    /// `catvae train` with these flags is the same run.
    pub(crate) args: TrainArgs,
}

/// The flags of `catvae train`, each with a list of values.
#[derive(Clone, Debug, Default)]
pub(crate) struct GridFlags(Vec<(String, Vec<String>)>);

impl Grid {
    /// The grid of a file, if any, under the flags of the command line, which win.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn new(file: Option<&Path>, flags: &GridFlags) -> Result<Self> {
        let mut grid = match file {
            Some(path) => {
                let told = || format!("cannot take {} for a grid", path.display());
                let text = std::fs::read_to_string(path).with_context(told)?;
                Self::from_toml(&text).with_context(told)?
            }
            None => Self::default(),
        };
        for (flag, texts) in &flags.0 {
            grid.settings.remove(flag);
            grid.variants.iter_mut().for_each(|variant| drop(variant.settings.remove(flag)));
            let values = texts.iter().flat_map(|text| values(flag, text)).collect();
            grid.axes.insert(flag.clone(), values);
        }
        // A seed is named even where there is one only: more may follow.
        let seed = grid.settings.remove(SEED).map(|text| values(SEED, &text));
        if let Some(seed) = seed {
            grid.axes.entry(SEED.to_owned()).or_insert(seed);
        }
        Ok(grid)
    }

    fn from_toml(text: &str) -> Result<Self> {
        let mut grid = Self::default();
        for (section, value) in text.parse::<Table>()? {
            match (section.as_str(), value) {
                ("settings", Value::Table(table)) => grid.settings = settings(table)?,
                ("grid", Value::Table(table)) => {
                    for (key, value) in table {
                        let flag = flag_named(&key)?;
                        let found = match value {
                            Value::Array(list) => list.iter().map(|v| shown(v, ",")).collect(),
                            value => values(&flag, &shown(&value, ",")),
                        };
                        let texts = found.iter().flat_map(|text| values(&flag, text)).collect();
                        grid.axes.insert(flag, texts);
                    }
                }
                ("variants", Value::Array(list)) => {
                    for value in list {
                        let Value::Table(mut table) = value else {
                            bail!("[[variants]] are tables")
                        };
                        let name = table.remove("name").map(|name| shown(&name, ","));
                        grid.variants.push(Variant { name, settings: settings(table)? });
                    }
                }
                (other, _) => {
                    bail!("`{other}` is none of [settings], [grid] and [[variants]]")
                }
            }
        }
        Ok(grid)
    }

    /// The text of a file that [`Self::new`] reads back to the same grid.
    pub(crate) fn to_toml(&self) -> Result<String> {
        let of = |settings: &Settings| {
            let fields = settings.iter().map(|(k, v)| (k.clone(), Value::from(v.clone())));
            Table::from_iter(fields)
        };
        let mut table = Table::new();
        table.insert("settings".to_owned(), of(&self.settings).into());
        let axes = self.axes.iter().map(|(k, v)| (k.clone(), Value::from(v.clone())));
        table.insert("grid".to_owned(), Table::from_iter(axes).into());
        if !self.variants.is_empty() {
            let variants = self.variants.iter().map(|variant| {
                let mut table = of(&variant.settings);
                if let Some(name) = &variant.name {
                    table.insert("name".to_owned(), name.clone().into());
                }
                Value::Table(table)
            });
            table.insert("variants".to_owned(), Value::Array(variants.collect()));
        }
        Ok(toml::to_string(&table)?)
    }

    /// Every cell, all variants and values with the first seed before those with the second.
    ///
    /// # Errors
    /// Flags that `catvae train` does not take, as clap tells them; two cells of one name; too many.
    pub(crate) fn cells(&self) -> Result<Vec<Sketch>> {
        let n_cells = self.axes.values().map(Vec::len).chain([self.variants.len().max(1)]);
        let n_cells = n_cells.fold(1_usize, usize::saturating_mul);
        ensure!(n_cells <= MOST_CELLS, "{n_cells} cells are too many: at most {MOST_CELLS}");
        let mut cells = vec![(Vec::new(), Settings::new())];
        let others = self.axes.iter().filter(|axis| axis.0 != SEED);
        for (flag, values) in self.axes.get_key_value(SEED).into_iter().chain(others) {
            let is_named = flag == SEED || values.len() > 1;
            cells = cells
                .into_iter()
                .flat_map(|(name, settings)| {
                    values.iter().map(move |value| {
                        let (mut name, mut settings) = (name.clone(), settings.clone());
                        if is_named {
                            name.push(format!("{flag}={value}"));
                        }
                        settings.insert(flag.clone(), value.clone());
                        (name, settings)
                    })
                })
                .collect();
            if flag == SEED && !self.variants.is_empty() {
                cells = self.with_variants(cells);
            }
        }
        if !self.axes.contains_key(SEED) && !self.variants.is_empty() {
            cells = self.with_variants(cells);
        }
        let mut names = std::collections::HashSet::new();
        cells
            .into_iter()
            .map(|(mut parts, settings)| {
                // The seed comes last in a name.
                let n_seeds = parts.len().min(usize::from(self.axes.contains_key(SEED)));
                parts.rotate_left(n_seeds);
                let name = folder_name(&parts.join(","));
                ensure!(
                    names.insert(name.clone()),
                    "two cells are called {name}: give each variant a `name`, and each value once"
                );
                let words = self.settings.iter().chain(&settings).filter_map(word);
                Ok(Sketch { name, args: parse(words)? })
            })
            .collect()
    }

    fn with_variants(&self, cells: Vec<(Vec<String>, Settings)>) -> Vec<(Vec<String>, Settings)> {
        let differs = |flag: &String| {
            let first = self.variants[0].settings.get(flag);
            self.variants.iter().any(|variant| variant.settings.get(flag) != first)
        };
        let variants = self.variants.iter().map(|variant| match &variant.name {
            Some(name) => (vec![name.clone()], variant),
            None => {
                let differing = variant.settings.iter().filter(|(flag, _)| differs(flag));
                (differing.map(|(flag, value)| format!("{flag}={value}")).collect(), variant)
            }
        });
        let variants: Vec<_> = variants.collect();
        let combined = cells.into_iter().flat_map(|(name, settings)| {
            variants.iter().map(move |(parts, variant)| {
                let (mut name, mut settings) = (name.clone(), settings.clone());
                name.extend(parts.iter().cloned());
                for (flag, value) in &variant.settings {
                    settings.entry(flag.clone()).or_insert_with(|| value.clone());
                }
                (name, settings)
            })
        });
        combined.collect()
    }
}

fn settings(table: Table) -> Result<Settings> {
    table.into_iter().map(|(key, value)| Ok((flag_named(&key)?, shown(&value, ",")))).collect()
}

/// A value of a file as one writes it on the command line.
fn shown(value: &Value, separator: &str) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            list.iter().map(|v| shown(v, separator)).collect::<Vec<_>>().join(separator)
        }
        value => value.to_string(),
    }
}

/// What a text stands for: one value where `catvae train` takes it as it is, else what lies between commas, and
/// `0..4` for 0 to 4.
fn values(flag: &str, text: &str) -> Vec<String> {
    // Every text is the name of a dataset.
    if flag != "dataset" && parse([format!("--{flag}={text}")]).is_ok() {
        return vec![text.to_owned()];
    }
    let mut values: Vec<String> = Vec::new();
    for piece in text.split(',') {
        // Parameters of an estimator stand between commas too: rebar:a=1,b=2.
        let continues = piece.contains('=') && !piece.contains(':');
        match values.last_mut().filter(|_| continues) {
            Some(last) => *last = format!("{last},{piece}"),
            None => values.extend(range(piece)),
        }
    }
    values
}

fn range(text: &str) -> Vec<String> {
    let ends =
        text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    match ends {
        Some((from, to)) if from <= to && to - from < MOST_CELLS as u64 => {
            (from..=to).map(|n: u64| n.to_string()).collect()
        }
        _ => vec![text.to_owned()],
    }
}

/// The name of a folder: what is readable of a name, and no longer than file systems take.
fn folder_name(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "._-+=,".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).take(200).collect();
    if name.is_empty() { "run".to_owned() } else { name }
}

/// A setting as a word of the command line; none for a switch that is off.
fn word((flag, value): (&String, &String)) -> Option<String> {
    match (is_switch(flag), value.as_str()) {
        (true, "false") => None,
        (true, "true") => Some(format!("--{flag}")),
        _ => Some(format!("--{flag}={value}")),
    }
}

/// The flags of one `catvae train`.
fn parse(words: impl IntoIterator<Item = String>) -> Result<TrainArgs, clap::Error> {
    let command = TrainArgs::augment_args(Command::new("catvae sweep"));
    let before = ["catvae".to_owned(), DEFAULTS.to_owned()];
    TrainArgs::from_arg_matches(&command.try_get_matches_from(before.into_iter().chain(words))?)
}

/// The flags that a grid may have: those of `catvae train` but for where a run lies.
fn flags() -> Vec<Arg> {
    let command = TrainArgs::augment_args(Command::new("catvae sweep"));
    let is_for_cells = |arg: &&Arg| !["out", "resume"].contains(&arg.get_id().as_str());
    command.get_arguments().filter(is_for_cells).cloned().collect()
}

fn is_switch(flag: &str) -> bool {
    flags().iter().any(|arg| arg.get_long() == Some(flag) && !arg.get_action().takes_values())
}

/// The flag of this name or alias.
fn flag_named(name: &str) -> Result<String> {
    let name = name.replace('_', "-");
    let is_it = |arg: &Arg| {
        arg.get_long() == Some(&name)
            || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name.as_str()))
    };
    let found =
        flags().iter().find(|arg| is_it(arg)).and_then(|arg| arg.get_long().map(str::to_owned));
    found.with_context(|| format!("`catvae train` has no flag --{name}"))
}

impl Args for GridFlags {
    fn augment_args(command: Command) -> Command {
        let flags = flags().into_iter().map(|arg| match arg.get_action().takes_values() {
            true => arg.action(ArgAction::Append).value_parser(clap::value_parser!(String)),
            false => arg,
        });
        flags.fold(command, Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for GridFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = flags().into_iter().filter_map(|arg| {
            let (id, long) = (arg.get_id().as_str(), arg.get_long()?.to_owned());
            if matches.value_source(id) != Some(ValueSource::CommandLine) {
                return None;
            }
            let texts = match arg.get_action().takes_values() {
                true => matches.get_many::<String>(id)?.cloned().collect(),
                false => vec!["true".to_owned()],
            };
            Some((long, texts))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_the_command_line(line: &str) -> Grid {
        let command = GridFlags::augment_args(Command::new("test"));
        command.clone().debug_assert();
        let words = std::iter::once("test").chain(line.split_whitespace());
        let matches = command.try_get_matches_from(words).unwrap();
        Grid::new(None, &GridFlags::from_arg_matches(&matches).unwrap()).unwrap()
    }

    fn names(grid: &Grid) -> Vec<String> {
        grid.cells().unwrap().into_iter().map(|cell| cell.name).collect()
    }

    #[test]
    fn lists_and_ranges_make_cells_named_by_what_differs_and_the_first_seed_comes_first() {
        let grid = on_the_command_line("--tau 0.5,1 --seed 0..1 --epochs 3");
        let expected = [
            "temperature=0.5,seed=0",
            "temperature=1,seed=0",
            "temperature=0.5,seed=1",
            "temperature=1,seed=1",
        ];
        assert_eq!(names(&grid), expected);
        let cells = grid.cells().unwrap();
        assert_eq!(cells[1].args.schedule.temperature, Some(1.0));
        assert_eq!(names(&on_the_command_line("--epochs 3")), ["run"]);
    }

    #[test]
    fn commas_inside_of_a_value_stay() {
        let grid = on_the_command_line("--hidden 32,16 --estimator gumbel-rao:draws=5,reinmax");
        assert_eq!(names(&grid), ["estimator=gumbel-rao-draws=5", "estimator=reinmax"]);
        let grid = on_the_command_line("--hidden 32,16 --hidden 8");
        assert_eq!(names(&grid), ["hidden=32,16", "hidden=8"]);
    }

    #[test]
    fn a_file_has_variants_and_the_command_line_wins_over_it() {
        let file = "[settings]\nlearning_rate = 0.1\nno-unrelaxed = true\n[grid]\nseed = \"0..2\"\n\
            [[variants]]\nname = \"a\"\ntau = 0.5\n[[variants]]\nname = \"b\"\ntau = 1";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grid.toml");
        std::fs::write(&path, file).unwrap();
        let grid = Grid::new(Some(&path), &GridFlags::default()).unwrap();
        assert_eq!(
            names(&grid),
            ["a,seed=0", "b,seed=0", "a,seed=1", "b,seed=1", "a,seed=2", "b,seed=2"]
        );
        let temperatures =
            grid.cells().unwrap().iter().map(|c| c.args.schedule.temperature).collect::<Vec<_>>();
        assert_eq!(temperatures[..2], [Some(0.5), Some(1.0)]);
        let flags = GridFlags(vec![("seed".to_owned(), vec!["7".to_owned()])]);
        let grid = Grid::new(Some(&path), &flags).unwrap();
        assert_eq!(names(&grid), ["a,seed=7", "b,seed=7"]);
        // What is written reads back.
        std::fs::write(&path, grid.to_toml().unwrap()).unwrap();
        assert_eq!(Grid::new(Some(&path), &GridFlags::default()).unwrap(), grid);
    }

    #[test]
    fn slips_are_told() {
        let error = |text: &str| format!("{:#}", Grid::from_toml(text).unwrap_err());
        assert!(error("[grid]\ntua = [1]").contains("no flag --tua"));
        assert!(error("[grid]\nout = \"a\"").contains("no flag --out"));
        assert!(error("[cells]\n").contains("none of [settings], [grid] and [[variants]]"));
        let twice = on_the_command_line("--seed 1,1").cells().unwrap_err().to_string();
        assert!(twice.contains("two cells are called seed=1"), "{twice}");
        let many =
            on_the_command_line("--seed 0..99999 --tau 1,2").cells().unwrap_err().to_string();
        assert!(many.contains("200000 cells are too many"), "{many}");
        assert!(on_the_command_line("--lr 1,x").cells().unwrap_err().is::<clap::Error>());
    }
}
