//! What is told, and how it looks.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal as _, Stdout, Write as _},
    time::Duration,
};

use super::DemoError;

/// How lines look.
#[derive(Clone, Copy)]
struct Look {
    /// In columns.
    is_aligned: bool,
    is_coloured: bool,
}

/// As escape codes have them.
#[derive(Clone, Copy)]
enum Style {
    Bold = 1,
    Green = 32,
    Cyan = 36,
}

impl Look {
    fn paint(self, style: Style, text: impl Display) -> String {
        if self.is_coloured {
            format!("\x1b[{}m{text}\x1b[0m", style as u8)
        } else {
            text.to_string()
        }
    }

    /// In a column of this width, where there are columns.
    fn column(self, style: Style, text: &str, width: usize) -> String {
        let width = if self.is_aligned { width.saturating_sub(text.chars().count()) } else { 0 };
        format!("{}{:width$}", self.paint(style, text), "")
    }
}

/// Where the demo is told.
pub(super) struct Screen {
    out: Stdout,
    look: Look,
}

/// The longest name of a location.
const NAME: usize = 7;

/// The longest command that is told.
const COMMAND: usize = 32;

impl Screen {
    /// That of this process: plain unless stdout is a terminal, without colours if its user wants none.
    pub(super) fn of_stdout() -> Screen {
        let out = io::stdout();
        let is_aligned = out.is_terminal();
        let is_unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|value| value == "dumb");
        Screen { out, look: Look { is_aligned, is_coloured: is_aligned && !is_unwanted } }
    }

    /// A line of its own.
    pub(super) fn line(&mut self, text: impl Display) -> Result<(), DemoError> {
        writeln!(self.out, "{text}").map_err(DemoError::Screen)
    }

    /// The headline of a step.
    pub(super) fn step(&mut self, number: u8, title: &str) -> Result<(), DemoError> {
        let title = self.look.paint(Style::Bold, format_args!("{number}. {title}"));
        self.line(format_args!("\n{title}"))
    }

    /// A line of a step.
    pub(super) fn say(&mut self, text: impl Display) -> Result<(), DemoError> {
        self.line(format_args!("   {text}"))
    }

    /// A line of a step that is about a location.
    pub(super) fn about(&mut self, name: &str, text: impl Display) -> Result<(), DemoError> {
        let name = self.look.column(Style::Cyan, name, NAME);
        self.say(format_args!("{name} {text}"))
    }

    /// A command, and what it does.
    pub(super) fn command(&mut self, command: &str, does: &str) -> Result<(), DemoError> {
        let command = self.look.column(Style::Bold, command, COMMAND);
        self.say(format_args!("{command} # {does}"))
    }

    /// What is good news, as a part of a line.
    pub(super) fn good(&self, text: impl Display) -> String {
        self.look.paint(Style::Green, text)
    }

    /// A time that was measured, as a part of a line.
    pub(super) fn time(&self, time: Duration) -> String {
        self.good(format_args!("{:.1} ms", time.as_secs_f64() * 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_columns_are_only_where_they_are_wanted() {
        let plain = Look { is_aligned: false, is_coloured: false };
        assert_eq!(plain.column(Style::Cyan, "osaka", 7), "osaka");
        let aligned = Look { is_aligned: true, ..plain };
        assert_eq!(aligned.column(Style::Cyan, "osaka", 7), "osaka  ");
        let coloured = Look { is_coloured: true, ..aligned };
        assert_eq!(coloured.column(Style::Cyan, "osaka", 7), "\x1b[36mosaka\x1b[0m  ");
    }
}
