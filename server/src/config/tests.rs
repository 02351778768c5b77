//! Every setting: by flag, variable and file; precedence; wrong values; documentation.

use std::{ffi::OsString, fmt::Write as _, fs, path::PathBuf};

use clap::{Args as _, Command, FromArgMatches as _};
use tempfile::TempDir;

use super::*;
use crate::cluster::state::{
    names::{Sha256, TokenId},
    token::{Secret, Token},
};

/// For each setting: two values in the file's syntax, a wrong one, and a part of its error.
///
/// The values differ from each other and from the default.
const VALUES: &[(&str, [&str; 2], &str, &str)] = &[
    ("data", [r#""one""#, r#""two""#], r#""""#, "path is empty"),
    ("namespaces", [r#"["a","b"]"#, r#"["c"]"#], r#"["a",""]"#, "1 to 512 bytes"),
    ("log", [r#""debug""#, r#""waypost=trace""#], r#""verbose""#, "is not a level"),
    ("threads", ["1", "1024"], "1025", "1 to 1024"),
    ("listen", [r#""127.0.0.1:1""#, r#""unix:/x""#], r#""example.com:1""#, "IP:PORT"),
    ("socket-mode", [r#""0600""#, r#""777""#], r#""0999""#, "three octal digits"),
    (
        "allowed-hosts",
        [r#"["kv.example.com","b.c"]"#, r#"["waypost"]"#],
        r#"["http://a.b"]"#,
        "not the name of a host",
    ),
    ("tls-cert", [r#""one""#, r#""two""#], r#""""#, "path is empty"),
    ("tls-key", [r#""one""#, r#""two""#], r#""""#, "path is empty"),
    ("client-ca", [r#""one""#, r#""two""#], r#""""#, "path is empty"),
    ("apis", [r#"["binding","ops"]"#, r#"["rls"]"#], r#"["web"]"#, "binding, kv, ratelimit"),
    ("insecure", ["true", "false"], "2", "a boolean"),
    ("admin-token-file", [r#""one""#, r#""two""#], r#""""#, "path is empty"),
    ("audit-log", [r#""one""#, r#""two""#], r#""""#, "path is empty"),
    ("join", [TOKENS[0], TOKENS[1]], r#""wp1-aaaa""#, "mistyped or cut"),
    ("join-file", [r#""one""#, r#""-""#], r#""""#, "path is empty"),
    ("location", [r#""fra""#, r#""ams""#], r#""a\nb""#, "is not a name"),
    ("advertise", [r#"["a:1","b:2"]"#, r#"["[::1]:3"]"#], r#"["a"]"#, "write HOST:PORT"),
    ("cluster-listen", [r#""0.0.0.0:1""#, r#""[::]:2""#], r#""a:1""#, "write IP:PORT"),
    ("cache", [r#""1MiB""#, r#""2 GiB""#], r#""1KiB""#, "out of range"),
    ("durability", [r#""relaxed:1ms""#, r#""relaxed:24h""#], r#""never""#, "relaxed:100ms"),
    ("queue", ["1", "65536"], "0", "1 to 65536"),
    ("queue-wait", [r#""0s""#, r#""1m""#], r#""5""#, "write 500ms, 30s"),
    ("min-ttl", [r#""1s""#, r#""5m""#], r#""0s""#, "at least 1000ms"),
    ("strict", ["true", "false"], "2", "a boolean"),
    ("expiry-grace", [r#""1s""#, r#""24h""#], r#""0s""#, "at least 1000ms"),
    ("max-clock-skew", [r#""10ms""#, r#""1m""#], r#""9ms""#, "at least 10ms"),
    ("limiter-memory", [r#""64KiB""#, r#""65537""#], r#""x""#, "not a size"),
    ("max-limits", ["1", "10000000"], "0", "1 to 10000000"),
    ("top-denied-keys", ["1", "100"], "101", "0 to 100"),
    ("rls-config", [r#""one""#, r#""two""#], r#""""#, "path is empty"),
    ("rls-algorithm", [r#""fixed""#, r#""gcra""#], r#""none""#, "sliding"),
    ("rls-headers", [r#""ietf""#, r#""ratelimit""#], r#""all""#, "x-ratelimit"),
    ("header-timeout", [r#""1ms""#, r#""1h""#], r#""0s""#, "at least 1ms"),
    ("idle-timeout", [r#""1ms""#, r#""1h""#], r#""25h""#, "at most 24h"),
    ("body-timeout", [r#""1ms""#, r#""1h""#], r#""0s""#, "at least 1ms"),
    ("response-timeout", [r#""1ms""#, r#""1h""#], r#""0s""#, "at least 1ms"),
    ("max-connections", ["1", "1000000"], "1000001", "1 to 1000000"),
    ("budget", [r#""16MiB""#, r#""1GiB""#], r#""1MiB""#, "16777216 to"),
    ("max-header-size", [r#""8KiB""#, r#""1MiB""#], r#""8191""#, "8192 to"),
    ("drain", [r#""0s""#, r#""1h""#], r#""-1s""#, "not a time"),
    ("drain-notice", [r#""1s""#, r#""1h""#], r#""25h""#, "at most 24h"),
];

const TOKENS: [&str; 2] = ["TOKEN-1", "TOKEN-2"];

/// Replaces [`TOKENS`] by real ones, which have a checksum.
fn real(value: &str) -> String {
    let token = |id: u8| Token {
        ca: Sha256([id; 32]),
        id: TokenId([id; 8]),
        secret: Secret([id; 16]),
        addresses: vec!["a:1".parse().expect("an address")],
    };
    match TOKENS.iter().position(|name| *name == value) {
        Some(at) => format!("\"{}\"", token(u8::try_from(at).expect("two"))),
        None => value.to_owned(),
    }
}

/// Converts a value from the file's syntax to that of flags and variables.
fn as_text(value: &str) -> String {
    match toml::from_str::<toml::Table>(&format!("x = {value}")).expect("TOML")["x"].clone() {
        toml::Value::String(text) => text,
        toml::Value::Array(values) => {
            let texts: Vec<_> = values.iter().map(|value| value.as_str().expect("text")).collect();
            texts.join(",")
        }
        number => number.to_string(),
    }
}

/// The values of one setting in its three sources.
#[derive(Clone, Default)]
struct Sources {
    flag: Option<String>,
    variable: Option<String>,
    file: Option<String>,
}

impl Sources {
    fn load(&self, setting: &Setting) -> Result<Settings, ConfigError> {
        let flags = self.flag.iter().map(|text| format!("{}={text}", setting.flag()));
        let flags: Vec<String> = flags.collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let given = self::flags::<Every>(&flags).or_variables(|name| {
            self.variable.as_ref().filter(|_| name == setting.variable()).map(Into::into)
        });
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("waypost.toml");
        let file = self.file.as_ref().map(|value| {
            let text = format!("# The first line.\n{} = {value}\n", setting.key());
            fs::write(&path, text).expect("a file");
            &*path
        });
        let contents = file.map(read).transpose()?.unwrap_or_default();
        Settings::resolve(&given, contents.settings).map(|(settings, ..)| settings)
    }
}

/// Formats one field, to compare values of any type.
fn field(settings: &Settings, setting: &Setting) -> String {
    let all = format!("{settings:#?}");
    let start = format!("\n    {}: ", setting.field);
    let value = &all[all.find(&start).expect("the field") + start.len()..];
    // A nested value ends at the first line that is indented like the field.
    let mut lines = value.lines();
    let first = lines.next().expect("a value");
    let rest = lines.take_while(|line| line.starts_with("     ")).collect::<String>();
    if first.ends_with(['{', '(', '[']) { format!("{first}{rest}") } else { first.to_owned() }
}

fn each(mut check: impl FnMut(&Setting, [String; 2], &str, &str)) {
    assert_eq!(VALUES.len(), SETTINGS.len(), "each setting has its values here");
    for (setting, (key, values, wrong, error)) in SETTINGS.iter().zip(VALUES) {
        assert_eq!(setting.key(), *key);
        check(setting, values.map(real), wrong, error);
    }
}

#[test]
fn every_setting_is_set_by_its_flag_its_variable_and_its_key() {
    each(|setting, values, _, _| {
        let default = field(&Sources::default().load(setting).expect("the default"), setting);
        let mut seen = vec![default];
        for value in values {
            let text = Some(as_text(&value));
            let load = |sources: &Sources| field(&sources.load(setting).expect(&value), setting);
            let by_flag = load(&Sources { flag: text.clone(), ..Sources::default() });
            let by_variable = load(&Sources { variable: text, ..Sources::default() });
            let by_file = load(&Sources { file: Some(value.clone()), ..Sources::default() });
            assert_eq!((&by_flag, &by_flag), (&by_variable, &by_file), "{}", setting.field);
            assert!(!seen.contains(&by_flag), "{}: {by_flag} is not new", setting.field);
            seen.push(by_flag);
        }
    });
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
    each(|setting, [one, two], _, _| {
        let load = |sources: &Sources| field(&sources.load(setting).expect("settings"), setting);
        let only =
            |value: &str| load(&Sources { file: Some(value.to_owned()), ..Sources::default() });
        let mut sources = Sources {
            flag: Some(as_text(&one)),
            variable: Some(as_text(&two)),
            file: Some(two.clone()),
        };
        assert_eq!(load(&sources), only(&one), "{}: the flag wins", setting.field);
        sources = Sources { flag: None, variable: Some(as_text(&one)), file: Some(two) };
        assert_eq!(load(&sources), only(&one), "{}: the variable wins", setting.field);
    });
}

#[test]
fn a_wrong_value_is_reported_with_the_source_that_set_it() {
    each(|setting, [good, _], wrong, says| {
        let text = as_text(wrong);
        let fails = |sources: Sources, source: &str| {
            let error = sources.load(setting).expect_err(wrong);
            let error_text = error.to_string();
            assert!(error_text.contains(source), "{source} is not in {error_text:?}");
            assert!(error_text.contains(says), "{says:?} is not in {error_text:?}");
            assert!(error_text.lines().count() == 1, "{error_text}");
            error.is_usage()
        };
        let flag = Sources { flag: Some(text.clone()), ..Sources::default() };
        assert!(fails(flag, &format!("{}: ", setting.flag())));
        // An empty variable is not set.
        let variable = Sources { variable: Some(text.clone()), ..Sources::default() };
        assert!(text.is_empty() || fails(variable, &format!("{}: ", setting.variable())));
        let file = Sources { file: Some(wrong.to_owned()), ..Sources::default() };
        assert!(!fails(file.clone(), "waypost.toml:2: "));
        // A flag does not hide a wrong value in the file.
        assert!(!fails(Sources { flag: Some(as_text(&good)), ..file }, "waypost.toml:2: "));
    });
}

#[test]
fn a_text_that_is_not_utf8_is_a_path_or_an_error() {
    use std::os::unix::ffi::OsStringExt as _;
    let text = || OsString::from_vec(vec![0xff]);
    let given = |name: &'static str| {
        flags::<Every>(&[]).or_variables(|variable| (variable == name).then(text))
    };
    let settings = Config::load(&given("WAYPOST_DATA"), None).expect("a path").settings;
    assert_eq!(settings.data, PathBuf::from(text()));
    let error = Config::load(&given("WAYPOST_QUEUE"), None).expect_err("a number").to_string();
    assert_eq!(error, "WAYPOST_QUEUE: the value is not UTF-8");
}

#[test]
fn a_list_may_be_given_by_several_flags() {
    let flags = flags::<Every>(&["--namespaces=a,b", "--namespaces", "", "--namespaces=c"]);
    let List(titles) = Config::load(&flags.given(), None).expect("settings").settings.namespaces;
    let titles: Vec<&str> = titles.iter().map(Title::as_str).collect();
    assert_eq!(titles, ["a", "b", "c"]);
}

#[test]
fn a_variable_that_is_set_but_empty_counts_as_not_set() {
    let empty = |_: &str| Some(OsString::new());
    let none = |_: &str| None;
    let load = |variables: &dyn Fn(&str) -> Option<OsString>| {
        let given = flags::<Every>(&["--data", "here"]).or_variables(variables);
        format!("{:?}", Config::load(&given, None).expect("the defaults").settings)
    };
    assert_eq!(load(&empty), load(&none));
}

#[test]
fn a_command_ignores_the_variables_of_settings_that_it_does_not_take() {
    let variable = |name: &str| (name != "WAYPOST_DATA").then(|| "wrong".into());
    let given = flags::<DataOnly>(&["--data", "here"]).or_variables(variable);
    let settings = Config::load(&given, None).expect("only the data directory counts").settings;
    assert_eq!(settings.data, PathBuf::from("here"));
    let given = flags::<DataAndAddresses>(&[]).or_variables(variable);
    let error = Config::load(&given, None).expect_err("this one counts").to_string();
    assert!(error.starts_with("WAYPOST_ADVERTISE: "), "{error}");
}

fn flags<S: Selection>(args: &[&str]) -> Flags<S> {
    let args = std::iter::once(&"waypost").chain(args);
    let matches = Flags::<S>::augment_args(Command::new("waypost")).get_matches_from(args);
    Flags::from_arg_matches(&matches).expect("its flags")
}

/// Run with `UPDATE_DOCS=1` to write the file.
#[test]
fn the_documentation_of_settings_equals_the_table() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md"));
    let expected = documentation();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).expect("the file is written");
    }
    let actual = fs::read_to_string(&path).unwrap_or_default();
    assert!(actual == expected, "run `UPDATE_DOCS=1 cargo test -p waypost --lib config`");
}

fn documentation() -> String {
    let mut text = "\
# Settings

Each setting has one name. `data` is `data = \"…\"` in the file of `--config`, `WAYPOST_DATA` in the environment, and
`--data` on the command line. A flag wins over a variable, a variable over the file, the file over the default. A
variable that is set but empty counts as not set.
`waypost serve -h` lists all settings.

```toml
listen = \"127.0.0.1:8420\"
data = \"/var/lib/waypost\"
cache = \"512MiB\"
namespaces = [\"sessions\", \"pages\"]   # created at startup if they do not exist
```

```sh
waypost serve --config /etc/waypost.toml
```

Times are written as `500ms`, `30s`, `5m` or `1h`, sizes as `65536`, `64KiB`, `512MiB` or `2GiB`. In the file, times and
sizes are strings, numbers are integers, and lists are arrays of strings; in a flag or a variable, a list is separated by
commas. Only the file can have several listeners (`[[listener]]`, [network.md](network.md)), rate limits by name
(`[limits.NAME]`) and limits for Envoy (`[[rls]]`).

This file is generated from the table in `server/src/config/settings.rs`.
"
    .to_owned();
    let mut group = None;
    for setting in SETTINGS {
        if group != Some(setting.group) {
            group = Some(setting.group);
            let heading = setting.group.heading();
            write!(text, "\n## {heading}\n\n| key | value | default | |\n|---|---|---|---|\n")
                .expect("a string");
        }
        let default = match setting.default {
            "" => "none".to_owned(),
            words if words.contains(' ') => words.to_owned(),
            value => format!("`{value}`"),
        };
        let value_name = setting.value_name.replace('|', "\\|");
        let (key, help) = (setting.key(), setting.help());
        writeln!(text, "| `{key}` | `{value_name}` | {default} | {help} |").expect("a string");
    }
    text
}
