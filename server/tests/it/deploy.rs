//! The files of `deploy/` that start a server: each flag, variable and command in them exists.

use std::{fs, path::Path, process::Command};

use crate::{
    process::{run, waypost},
    tokens::text,
};

/// A file of the repository.
fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(path).expect(name)
}

/// The values of the lines `key VALUE`, in the order of the file.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(key)).collect()
}

/// Checks that a command and its flags exist.
fn check_command(words: &[&str]) {
    let help = run([words[0], "--help"]);
    let help = text(&help.stdout);
    for flag in words[1..].iter().filter(|word| word.starts_with("--")) {
        assert!(
            help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")),
            "{flag}"
        );
    }
}

#[test]
fn the_unit_of_systemd_starts_the_server_with_flags_that_exist_and_keeps_it_in() {
    let unit = file("deploy/systemd/waypost.service");
    let [start] = values(&unit, "ExecStart=")[..] else { panic!("one command") };
    let words: Vec<_> = start.split(' ').collect();
    assert_eq!(words[0], "/usr/local/bin/waypost");
    check_command(&words[1..]);
    for line in [
        "Type=notify",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "StateDirectory=waypost",
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "LimitCORE=0",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let [data] = words.iter().skip_while(|word| **word != "--data").skip(1).collect::<Vec<_>>()[..]
    else {
        panic!("the data directory is the last word")
    };
    assert_eq!(*data, "/var/lib/waypost");
}

#[test]
fn systemd_accepts_its_unit() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("waypost.service");
    // Its commands must exist.
    let binary = waypost([] as [&str; 0]);
    let binary = binary.get_program().to_str().expect("UTF-8");
    let unit = file("deploy/systemd/waypost.service").replace("/usr/local/bin/waypost", binary);
    fs::write(&path, unit).expect("a file");
    let verify = Command::new("systemd-analyze").arg("verify").arg(&path).output();
    let Ok(verified) = verify else {
        println!("skipped: there is no systemd-analyze");
        return;
    };
    let said = text(&verified.stderr);
    assert!(verified.status.success() && !said.contains("Unknown"), "{said}");
}

#[test]
fn the_container_runs_commands_that_exist_as_a_user_without_privileges() {
    let container = file("deploy/container/Containerfile");
    let words = |json: &str| -> Vec<String> { serde_json::from_str(json).expect(json) };
    let [entry] = values(&container, "ENTRYPOINT ")[..] else { panic!("one entry point") };
    let [command] = values(&container, "CMD ")[..] else { panic!("one command") };
    let [health] = values(&container, "HEALTHCHECK ")[..] else { panic!("one health check") };
    let health = health.split_once("CMD ").expect("a command").1;
    assert_eq!(words(entry), ["/usr/local/bin/waypost"]);
    for all in [words(command), words(health)[1..].to_vec()] {
        check_command(&all.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let [user] = values(&container, "USER ")[..] else { panic!("one user") };
    // Kubernetes' runAsNonRoot needs a number.
    let user: u32 = user.split(':').next().and_then(|id| id.parse().ok()).expect("a number");
    assert_ne!(user, 0);
    let help = run(["serve", "--help"]);
    for variable in values(&container, "ENV ") {
        let name = variable.split('=').next().expect("a name");
        assert!(text(&help.stdout).contains(&format!("[env: {name}")), "{name}");
    }
    // The toolchain of the repository would be downloaded otherwise.
    let toolchain = file("rust-toolchain.toml");
    let channel = values(&toolchain, "channel = ")[0].trim_matches('"');
    let minor = channel.rsplit_once('.').expect("a patch").0;
    assert!(container.contains(&format!("/rust:{minor}-slim-bookworm AS build")), "{minor}");
}
