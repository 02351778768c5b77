//! `waypost kv export`.
//!
//! The entries come page by page, in the order of their keys, and each becomes a line when its value is here. The last whole line
//! of a file thus says how far an export is: `--resume` cuts off what follows it, and lists on from its key. No other state is
//! needed.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser};
use waypost_client::{Error, List, Listed};

use super::{connect::Target, error::KvError, line::Line, list::Pages, progress::Progress, tail};
use crate::terminal;

/// Print all entries of a namespace, each as a line of JSON.
///
/// A line has the fields key, value, base64 (if the value is not text), metadata and expiration (in Unix seconds). `waypost kv
/// import` reads it. Entries that are written meanwhile are exported as they were before or after.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// The title or id of the namespace
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) namespace: String,
    /// The file to write, which must not exist [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Continue a file of an export that was interrupted, after its last whole line
    #[arg(long, requires = "output")]
    resume: bool,
    /// The form of the export
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    format: Format,
    /// Only keys that start with this
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A line of JSON for each entry
    Ndjson,
    /// The JSON of `wrangler kv bulk put`
    Wrangler,
}

/// Where an export goes.
struct Out {
    /// The writer.
    writer: BufWriter<Box<dyn Write>>,
    /// The file, if it is one.
    file: Option<File>,
    /// The form.
    format: Format,
    /// Whether there is an entry already.
    is_begun: bool,
    /// Whether a person reads it.
    is_terminal: bool,
}

impl Out {
    /// Writes an entry.
    fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        if self.format == Format::Wrangler {
            self.writer.write_all(if self.is_begun { b"," } else { b"[" })?;
        }
        self.is_begun = true;
        if self.is_terminal {
            return terminal::write_json(&mut self.writer, line);
        }
        serde_json::to_writer(&mut self.writer, line)?;
        self.writer.write_all(b"\n")
    }

    /// Writes the end, and waits until a file is on the disk.
    fn finish(mut self) -> io::Result<()> {
        if self.format == Format::Wrangler {
            self.writer.write_all(if self.is_begun { b"]\n" } else { b"[]\n" })?;
        }
        self.writer.flush()?;
        self.file.map_or(Ok(()), |file| file.sync_all())
    }
}

impl Export {
    /// Exports the namespace.
    pub(super) async fn run(&self, target: &Target) -> Result<(), KvError> {
        let failed = |error| match &self.output {
            Some(path) => KvError::Write { path: path.clone(), error },
            None => KvError::Output(error),
        };
        let (mut out, after) = self.open()?;
        let (prefix, start_after) = (self.prefix.clone(), after);
        let list = List { prefix, start_after, values: true, ..List::default() };
        let mut pages = Pages::of(target, list);
        let mut progress = Progress::new("exported", out.is_terminal);
        let mut exported = 0;
        while let Some(keys) = pages.next().await? {
            for mut key in keys {
                let value = value_of(target, &mut key).await;
                // Without one, it was deleted meanwhile.
                let Some(value) = value.map_err(|error| target.failed(error))? else { continue };
                let line = Line::key(&key.name, key.expiration, key.metadata.as_deref());
                out.write(&line.with_value(&value)).map_err(failed)?;
                exported += 1;
            }
            progress.show(exported);
        }
        drop(progress);
        out.finish().map_err(failed)
    }

    /// Opens the output. Returns the key after which the export continues.
    fn open(&self) -> Result<(Out, Option<String>), KvError> {
        let format = self.format;
        let Some(path) = &self.output else {
            let is_terminal = io::stdout().is_terminal();
            let writer = BufWriter::new(Box::new(io::stdout()) as Box<dyn Write>);
            return Ok((Out { writer, file: None, format, is_begun: false, is_terminal }, None));
        };
        let failed = |error| KvError::Write { path: path.clone(), error };
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let options = if self.resume { options.create(true) } else { options.create_new(true) };
        let mut file = options.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KvError::Exists(path.clone()),
            _ => failed(error),
        })?;
        let after = if self.resume { last_key(&mut file, path)? } else { None };
        let writer = file.try_clone().map_err(failed)?;
        let writer = BufWriter::new(Box::new(writer) as Box<dyn Write>);
        let is_begun = after.is_some();
        Ok((Out { writer, file: Some(file), format, is_begun, is_terminal: false }, after))
    }
}

/// The value of a key: that of the list, or, if it is long, by a call of its own.
async fn value_of(target: &Target, key: &mut Listed) -> Result<Option<Bytes>, Error> {
    if let Some(value) = key.value.take() {
        return Ok(Some(value));
    }
    let Some(entry) = target.keys.get(&key.name).await? else { return Ok(None) };
    key.expiration = entry.expiration;
    entry.bytes().await.map(Some)
}

/// The key in the last whole line of an export, behind which the file is cut off.
fn last_key(file: &mut File, path: &Path) -> Result<Option<String>, KvError> {
    let line = tail::keep_whole_lines(file);
    let line = line.map_err(|error| KvError::Write { path: path.to_owned(), error })?;
    let Some(line) = line else { return Ok(None) };
    if line.trim_ascii() == b"]" || line.trim_ascii() == b"[]" {
        return Err(KvError::Complete(path.to_owned()));
    }
    let line = line.strip_prefix(b"[").or_else(|| line.strip_prefix(b",")).unwrap_or(&line);
    match serde_json::from_slice::<tail::Keyed>(line) {
        Ok(tail::Keyed { key }) => Ok(Some(key)),
        Err(error) => Err(KvError::NotAnExport { path: path.to_owned(), error }),
    }
}
