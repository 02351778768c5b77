//! The alarm about changed files that are faulty: those of the configuration, of a certificate, of a token.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::{alarm::Alarm, kind::AlarmKind};

/// A part of the configuration that is loaded by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The files of `--config` and `--rls-config`.
    Settings,
    /// The file of `--admin-token-file`.
    AdminToken,
    /// The certificate of a listener, by its place among those that have one.
    Certificate(usize),
}

/// Why changed files were not taken, by the part that they belong to.
#[derive(Debug, Default)]
pub struct ConfigurationFault(Mutex<BTreeMap<Part, String>>);

impl ConfigurationFault {
    /// Records the error of the last attempt to load a part, which names the file and the line, or that there was none. Returns
    /// whether this differs from before.
    pub fn set(&self, part: Part, error: Option<String>) -> bool {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = faults.get(&part) != error.as_ref();
        match error {
            Some(error) => drop(faults.insert(part, error)),
            None => drop(faults.remove(&part)),
        }
        is_new
    }

    /// The errors of the last attempts, where these failed.
    pub(super) fn get(&self) -> Vec<String> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.values().cloned().collect()
    }
}

/// The alarm about these errors, if there are any.
pub(super) fn alarm(errors: &[String]) -> Option<Alarm> {
    if errors.is_empty() {
        return None;
    }
    let text = format!(
        "changed files are faulty, so that what was read from them before stays in use: {}. Correct them: they are then taken \
         within seconds",
        errors.join("; ")
    );
    Some(Alarm::here(AlarmKind::FaultyConfiguration, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faulty_file_is_an_alarm_until_it_is_mended_and_mending_another_one_does_not_end_it() {
        let faults = ConfigurationFault::default();
        assert_eq!(alarm(&faults.get()), None);
        let error = || Some("/etc/waypost.toml:3: unknown field `lisen`".to_owned());
        assert!(faults.set(Part::Settings, error()) && !faults.set(Part::Settings, error()));
        assert!(faults.set(Part::Certificate(1), Some("/etc/key.pem is not a PEM file".into())));
        let both = alarm(&faults.get()).expect("two faults");
        assert_eq!(both.kind, AlarmKind::FaultyConfiguration);
        assert!(both.text.contains("/etc/waypost.toml:3: unknown field"), "{}", both.text);
        assert!(both.text.contains("; /etc/key.pem is not a PEM file."), "{}", both.text);
        assert!(!faults.set(Part::Certificate(0), None) && faults.set(Part::Settings, None));
        assert!(alarm(&faults.get()).expect("a fault").text.contains("key.pem"));
        assert!(faults.set(Part::Certificate(1), None) && faults.get().is_empty());
    }
}
