//! The flags of `catvae train` that follow from the settings of a configuration.

use std::ffi::OsStr;

use anyhow::{Result, anyhow};
use catvae_model::ModelSettings;
use catvae_train::{Setting, TrainConfig};
use clap::builder::{PossibleValue, TypedValueParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

/// The settings that were given, as text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(Vec<(&'static Setting, String)>);

impl Flags {
    /// Whether the setting was given.
    pub(crate) fn give(&self, key: &str) -> bool {
        self.text(key).is_some()
    }

    /// What was given for the setting.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(setting, _)| setting.key == key).map(|(_, text)| text.as_str())
    }

    /// Puts what was given over `config`.
    pub(crate) fn apply(&self, config: &mut TrainConfig) -> Result<()> {
        for (setting, text) in &self.0 {
            setting.set(config, text).map_err(|error| anyhow!("{}: {error}", setting.key))?;
        }
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let command = Setting::all().filter_map(arg).fold(command, Command::arg);
        Setting::all().filter_map(switch_on).fold(command, Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |setting: &'static Setting| {
            let on = format!("{}.on", setting.key);
            if matches!(setting.flag?, (_, None)) && matches.get_flag(&on) {
                return Some((setting, "true".to_owned()));
            }
            let is_given = matches.value_source(setting.key) == Some(ValueSource::CommandLine);
            let text = match setting.flag? {
                (_, Some(_)) => matches.get_one::<String>(setting.key)?.clone(),
                (_, None) => "false".to_owned(),
            };
            is_given.then_some((setting, text))
        };
        Ok(Self(Setting::all().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flag that puts on again what a file puts off, or an earlier flag.
fn switch_on(setting: &'static Setting) -> Option<Arg> {
    let (off, None) = setting.flag? else { return None };
    let name = off.strip_prefix("no-")?;
    let arg = Arg::new(format!("{}.on", setting.key)).long(name).overrides_with(setting.key);
    Some(arg.action(ArgAction::SetTrue).hide(true))
}

fn arg(setting: &'static Setting) -> Option<Arg> {
    let (name, value) = setting.flag?;
    let heading = match setting.key.split('.').next() {
        Some("data") => "Data",
        Some("training") => "Training",
        _ => "Model",
    };
    let arg = Arg::new(setting.key).long(name).help_heading(heading);
    // The name in the configuration file is understood too.
    let field = setting.key.rsplit('.').next().unwrap_or(name).replace('_', "-");
    let help = setting.help.trim();
    let Some(value) = value else {
        // The help says what is done by default.
        let (first, rest) = help.split_at(help.chars().next().map_or(0, char::len_utf8));
        let help = format!("Do not {}{rest}", first.to_lowercase());
        return Some(
            arg.action(ArgAction::SetFalse)
                .overrides_with(format!("{}.on", setting.key))
                .help(help),
        );
    };
    let help = match setting.default_text() {
        default if default.is_empty() => help.to_owned(),
        default => format!("{help} [default: {default}]"),
    };
    let arg = if field == name { arg } else { arg.alias(field) };
    let parser = ValueParser::new(Parser(setting));
    Some(arg.value_name(value).allow_negative_numbers(true).value_parser(parser).help(help))
}

/// Takes what the setting takes, and tells help and completions the names that it has.
#[derive(Clone, Copy)]
struct Parser(&'static Setting);

impl TypedValueParser for Parser {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, Error> {
        let parse = |text: &str| -> Result<String, String> {
            let mut config = TrainConfig::default();
            self.0.set(&mut config, text)?;
            self.0.check(&mut config).map_err(|error| error.to_string())?;
            // Other errors of a model depend on its other settings.
            match config.model.check() {
                Err(error @ catvae_model::Error::TooSmall { .. }) => Err(error.to_string()),
                _ => Ok(text.to_owned()),
            }
        };
        parse.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue>>> {
        let names = self.0.names();
        (!names.is_empty()).then(|| Box::new(names.into_iter().map(PossibleValue::new)) as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_with_a_flag_takes_its_own_default() {
        let command = Flags::augment_args(Command::new("test"));
        command.clone().debug_assert();
        for setting in Setting::all() {
            let default = setting.default_text();
            let Some((flag, Some(_))) = setting.flag else { continue };
            if default.is_empty() {
                continue;
            }
            let words = ["test".to_owned(), format!("--{flag}={default}")];
            let matches = command.clone().try_get_matches_from(words).unwrap();
            let flags = Flags::from_arg_matches(&matches).unwrap();
            assert!(flags.give(setting.key), "{}", setting.key);
            let mut config = TrainConfig::default();
            flags.apply(&mut config).unwrap();
            assert_eq!(config, TrainConfig::default(), "{}", setting.key);
        }
    }

    #[test]
    fn a_name_in_capitals_and_the_name_of_the_file_are_understood() {
        let command = Flags::augment_args(Command::new("test"));
        let line = ["test", "--estimator", "REINMAX", "--learning-rate", "0.5"];
        let matches = command.try_get_matches_from(line).unwrap();
        let mut config = TrainConfig::default();
        Flags::from_arg_matches(&matches).unwrap().apply(&mut config).unwrap();
        assert_eq!(config.estimator.name(), "reinmax");
        assert_eq!(config.training.learning_rate, 0.5);
    }

    #[test]
    fn a_switch_puts_off_what_is_on() {
        let command = Flags::augment_args(Command::new("test"));
        let matches = command.try_get_matches_from(["test", "--no-unrelaxed"]).unwrap();
        let mut config = TrainConfig::default();
        Flags::from_arg_matches(&matches).unwrap().apply(&mut config).unwrap();
        assert!(!config.training.unrelaxed && config.training.keep_best);
        let command = Flags::augment_args(Command::new("test"));
        let line = ["test", "--no-keep-best", "--unrelaxed", "--keep-best"];
        let matches = command.try_get_matches_from(line).unwrap();
        Flags::from_arg_matches(&matches).unwrap().apply(&mut config).unwrap();
        assert!(config.training.unrelaxed && config.training.keep_best);
    }
}
