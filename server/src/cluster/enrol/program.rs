//! The program of a joining member, as JSON, and whether a cluster can take it in.

use kv_core::{Features, FeaturesInUse, Software, SoftwareError, SoftwareVersion};
use serde::{Deserialize, Serialize};

use super::registry::AdmissionError;

/// The program of a joining member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Program(pub Software);

impl Program {
    /// Returns this program.
    #[must_use]
    pub fn of_this_version() -> Program {
        Program(kv_replicate::software())
    }
}

/// Its fields in JSON.
#[derive(Serialize, Deserialize)]
struct Fields {
    version: String,
    wire: (u16, u16),
    features: u64,
}

impl From<Program> for Fields {
    fn from(Program(software): Program) -> Fields {
        Fields {
            version: software.version.to_string(),
            wire: software.wire(),
            features: software.features.bits(),
        }
    }
}

impl TryFrom<Fields> for Program {
    type Error = SoftwareError;

    fn try_from(fields: Fields) -> Result<Program, SoftwareError> {
        let version = SoftwareVersion::new(fields.version)?;
        Software::new(version, fields.wire, Features::from_bits(fields.features)).map(Program)
    }
}

/// Checks that a program can take part in a cluster: it has every feature in use, and messages in common with `own`, the
/// program of the CA holder.
///
/// # Errors
/// If it can't; the error says which program to start.
pub(super) fn check(
    joining: Option<&Software>,
    own: &Software,
    in_use: &FeaturesInUse,
) -> Result<(), AdmissionError> {
    let has = joining.map_or(Features::NONE, |software| software.features);
    let joins =
        joining.map_or("an unknown version".into(), |one| format!("version {}", one.version));
    let cluster = own.version.to_string();
    let lacking: Vec<_> = in_use.lacking(has).map(|feature| feature.name.clone()).collect();
    if !lacking.is_empty() {
        let lacking = lacking.join(", ");
        return Err(AdmissionError::LacksFeatures { joins, lacking, cluster });
    }
    let (oldest, newest) = own.wire();
    match joining.map(Software::wire) {
        Some((from, to)) if to < oldest || from > newest => {
            Err(AdmissionError::NoCommonWire { joins, cluster })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn software(wire: (u16, u16)) -> Software {
        let version = SoftwareVersion::new("9.8.7").expect("a version");
        Software::new(version, wire, Features::NONE).expect("a range")
    }

    #[test]
    fn a_program_reads_back_from_its_json_and_invalid_ones_are_rejected() {
        let program = Program::of_this_version();
        let json = serde_json::to_string(&program).expect("JSON");
        assert_eq!(serde_json::from_str::<Program>(&json).expect("a program"), program);
        for wrong in [
            r#"{"version":"","wire":[1,2],"features":0}"#,
            r#"{"version":"1","wire":[2,1],"features":0}"#,
        ] {
            assert!(serde_json::from_str::<Program>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_program_without_messages_in_common_is_refused_with_both_versions() {
        let (own, none) = (software((3, 4)), FeaturesInUse::default());
        assert!(check(None, &own, &none).is_ok(), "a program of a former version");
        assert!(check(Some(&software((1, 3))), &own, &none).is_ok());
        for wire in [(1, 2), (5, 6)] {
            let error = check(Some(&software(wire)), &own, &none).expect_err("nothing in common");
            assert!(error.to_string().contains("9.8.7"), "{error}");
        }
    }
}
