//! The alarm about a changed configuration that is faulty.

use std::sync::{Mutex, PoisonError};

use super::{alarm::Alarm, kind::AlarmKind};

/// Why the changed configuration was not taken; none as long as there is no such fault.
#[derive(Debug, Default)]
pub struct ConfigurationFault(Mutex<Option<String>>);

impl ConfigurationFault {
    /// Records the error of the last attempt, which names the file and the line, or that there was none. Returns whether this
    /// differs from before.
    pub fn set(&self, error: Option<String>) -> bool {
        let mut fault = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *fault != error;
        *fault = error;
        is_new
    }

    /// The error of the last attempt, if it failed.
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The alarm about this error.
pub(super) fn alarm(error: &str) -> Alarm {
    let text = format!(
        "the changed configuration is faulty, so that the former one stays in use: {error}. Correct the file: it is then taken \
         within seconds"
    );
    Alarm::here(AlarmKind::FaultyConfiguration, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faulty_configuration_is_an_alarm_with_the_file_and_the_line_until_it_is_mended() {
        let fault = ConfigurationFault::default();
        assert_eq!(fault.get(), None);
        let error = || Some("/etc/waypost.toml:3: unknown field `lisen`".to_owned());
        assert!(fault.set(error()) && !fault.set(error()));
        let alarm = alarm(&fault.get().expect("a fault"));
        assert_eq!(alarm.kind, AlarmKind::FaultyConfiguration);
        assert!(alarm.text.contains("/etc/waypost.toml:3: unknown field"), "{}", alarm.text);
        assert!(fault.set(None) && fault.get().is_none());
    }
}
