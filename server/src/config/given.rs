//! Settings that the command line and the environment set, before the file is read.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    marker::PhantomData,
};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, builder::ValueParser};

use super::{
    error::ConfigError,
    settings::{Group, SETTINGS, Setting},
    value::Value,
};

/// The texts of flags and variables.
#[derive(Clone, Debug, Default)]
pub struct Given(BTreeMap<&'static str, (Source, OsString)>);

/// How a setting was set, for errors.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// By a flag of the command line.
    Flag,
    /// By an environment variable.
    Variable,
}

impl Given {
    /// Returns the value of a setting, if a flag or a variable set it.
    ///
    /// # Errors
    /// If the text is not a value of the setting; the error names the flag or the variable.
    pub(super) fn value<T: Value>(&self, field: &str) -> Result<Option<T>, ConfigError> {
        let setting = SETTINGS.iter().find(|setting| setting.field == field);
        let Some((setting, (source, text))) = setting.zip(self.0.get(field)) else {
            return Ok(None);
        };
        T::from_os(text).map(Some).map_err(|source_error| match source {
            Source::Flag => ConfigError::Flag { flag: setting.flag(), source: source_error },
            Source::Variable => {
                ConfigError::Variable { variable: setting.variable(), source: source_error }
            }
        })
    }
}

impl Given {
    /// Returns the flag or the variable that set a setting, if one did.
    pub(super) fn name(&self, field: &str) -> Option<String> {
        let setting = SETTINGS.iter().find(|setting| setting.field == field)?;
        self.0.get(field).map(|(source, _)| match source {
            Source::Flag => setting.flag(),
            Source::Variable => setting.variable(),
        })
    }
}

/// Which settings a command takes.
pub trait Selection {
    /// Whether it takes this one.
    fn has(setting: &Setting) -> bool;
}

/// All settings: `waypost serve`.
#[derive(Clone, Debug)]
pub struct Every;

impl Selection for Every {
    fn has(_setting: &Setting) -> bool {
        true
    }
}

/// The data directory alone.
#[derive(Clone, Debug)]
pub struct DataOnly;

impl Selection for DataOnly {
    fn has(setting: &Setting) -> bool {
        setting.field == "data"
    }
}

/// The data directory, and where other locations reach this one.
#[derive(Clone, Debug)]
pub struct DataAndAddresses;

impl Selection for DataAndAddresses {
    fn has(setting: &Setting) -> bool {
        ["data", "advertise", "cluster_listen"].contains(&setting.field)
    }
}

/// The flags of the settings of a [`Selection`], for a command of clap.
#[derive(Clone, Debug)]
pub struct Flags<S> {
    /// The texts that were given.
    given: Given,
    /// The settings that the command takes.
    selection: PhantomData<S>,
}

impl<S> Flags<S> {
    /// Returns what the flags set.
    #[must_use]
    pub fn given(self) -> Given {
        self.given
    }
}

impl<S: Selection> Flags<S> {
    /// Returns what the flags set, and what this process' environment sets beside them.
    #[must_use]
    pub fn or_environment(self) -> Given {
        self.or_variables(|variable| std::env::var_os(variable))
    }

    /// Does what [`Flags::or_environment`] does, with another environment. A variable that is empty counts as not set. Only the variables of the
    /// selected settings count: a command must not fail because of a setting that it does not take.
    pub(super) fn or_variables(self, variable: impl Fn(&str) -> Option<OsString>) -> Given {
        let mut given = self.given;
        for setting in Self::settings() {
            // `docker compose` and others set a variable without a value to the empty text.
            let text = variable(&setting.variable()).filter(|text| !text.is_empty());
            if let Some(text) = text {
                given.0.entry(setting.field).or_insert((Source::Variable, text));
            }
        }
        given
    }

    /// The settings that the command takes, in the order of the table.
    fn settings() -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().filter(|setting| S::has(setting))
    }
}

impl<S: Selection> Args for Flags<S> {
    fn augment_args(command: Command) -> Command {
        Self::settings().fold(command, |command, setting| command.arg(arg(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Selection> FromArgMatches for Flags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Flags { given: Given::default(), selection: PhantomData };
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in Self::settings() {
            if let Some(texts) = matches.get_many::<OsString>(setting.field) {
                let texts: Vec<&OsStr> = texts
                    .map(OsString::as_os_str)
                    .filter(|text| !setting.is_list || !text.is_empty())
                    .collect();
                let text = texts.join(OsStr::new(","));
                self.given.0.insert(setting.field, (Source::Flag, text));
            }
        }
        Ok(())
    }
}

/// The flag and the variable of a setting, as clap needs them.
fn arg(setting: &Setting) -> Arg {
    let default = match setting.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    let help = format!("{}{default} [env: {}]", setting.help(), setting.variable());
    let action = if setting.is_list { ArgAction::Append } else { ArgAction::Set };
    let values = if setting.is_switch { 0..=1 } else { 1..=1 };
    let arg = Arg::new(setting.field)
        .long(setting.key())
        .num_args(values)
        .require_equals(setting.is_switch)
        .default_missing_value("true")
        .value_name(setting.value_name)
        .value_parser(ValueParser::os_string())
        .action(action)
        .help(help);
    match setting.group {
        Group::General => arg,
        group => arg.help_heading(group.heading()),
    }
}
