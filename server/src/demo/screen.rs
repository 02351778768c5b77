//! The output, and how it looks.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal as _, Stdout, Write as _},
    time::Duration,
};

use super::error::DemoError;

/// The look of lines.
#[derive(Clone, Copy)]
struct Look {
    /// With columns.
    is_aligned: bool,
    /// Whether the output is a terminal that shows colours.
    is_coloured: bool,
}

/// A style, with its number in escape codes.
#[derive(Clone, Copy)]
enum Style {
    Bold = 1,
    Green = 32,
    Cyan = 36,
}

impl Look {
    /// Adds a style to a text, if colours are shown.
    fn paint(self, style: Style, text: impl Display) -> String {
        if self.is_coloured {
            format!("\x1b[{}m{text}\x1b[0m", style as u8)
        } else {
            text.to_string()
        }
    }

    /// Pads a text to the width of a column, if there are columns.
    fn column(self, style: Style, text: &str, width: usize) -> String {
        let width = if self.is_aligned { width.saturating_sub(text.chars().count()) } else { 0 };
        format!("{}{:width$}", self.paint(style, text), "")
    }
}

/// Where the demo is printed.
pub(super) struct Screen {
    /// Where the demo prints.
    out: Stdout,
    /// How the output looks.
    look: Look,
}

/// The longest name of a location.
const NAME: usize = 7;

/// The longest command that is printed.
const COMMAND: usize = 32;

impl Screen {
    /// Returns that of this process: plain unless stdout is a terminal, without colours if the environment
    /// asks for none.
    pub(super) fn of_stdout() -> Screen {
        let out = io::stdout();
        let is_aligned = out.is_terminal();
        let is_unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|value| value == "dumb");
        Screen { out, look: Look { is_aligned, is_coloured: is_aligned && !is_unwanted } }
    }

    /// Prints a line.
    pub(super) fn line(&mut self, text: impl Display) -> Result<(), DemoError> {
        writeln!(self.out, "{text}").map_err(DemoError::Screen)
    }

    /// Prints the headline of a step.
    pub(super) fn step(&mut self, number: u8, title: &str) -> Result<(), DemoError> {
        let title = self.look.paint(Style::Bold, format_args!("{number}. {title}"));
        self.line(format_args!("\n{title}"))
    }

    /// Prints a line of a step.
    pub(super) fn line_of_step(&mut self, text: impl Display) -> Result<(), DemoError> {
        self.line(format_args!("   {text}"))
    }

    /// Prints a line of a step about a location.
    pub(super) fn line_about(&mut self, name: &str, text: impl Display) -> Result<(), DemoError> {
        let name = self.look.column(Style::Cyan, name, NAME);
        self.line_of_step(format_args!("{name} {text}"))
    }

    /// Prints a command and its effect.
    pub(super) fn command(&mut self, command: &str, does: &str) -> Result<(), DemoError> {
        let command = self.look.column(Style::Bold, command, COMMAND);
        self.line_of_step(format_args!("{command} # {does}"))
    }

    /// Highlights good news, as a part of a line.
    pub(super) fn good(&self, text: impl Display) -> String {
        self.look.paint(Style::Green, text)
    }

    /// Formats a measured time, as a part of a line.
    pub(super) fn time(&self, time: Duration) -> String {
        self.good(format_args!("{:.1} ms", time.as_secs_f64() * 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_columns_are_used_only_if_they_are_on() {
        let plain = Look { is_aligned: false, is_coloured: false };
        assert_eq!(plain.column(Style::Cyan, "osaka", 7), "osaka");
        let aligned = Look { is_aligned: true, ..plain };
        assert_eq!(aligned.column(Style::Cyan, "osaka", 7), "osaka  ");
        let coloured = Look { is_coloured: true, ..aligned };
        assert_eq!(coloured.column(Style::Cyan, "osaka", 7), "\x1b[36mosaka\x1b[0m  ");
    }
}
