//! `waypost demo`: its whole output in a pipe.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::waypost;

fn assert_is_empty(directory: &TempDir) {
    let left: Vec<_> = fs::read_dir(directory.path()).expect("the directory exists").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_demo_prints_plain_lines_and_leaves_no_files() {
    let directory = TempDir::new().unwrap();
    let Output { status, stdout, stderr } =
        waypost(["demo"]).env("TMPDIR", directory.path()).output().unwrap();
    let (output, errors) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success(), "{errors}\n{output}");
    assert_eq!(errors, "");
    assert!(!output.contains(['\x1b', '\t']) && !output.contains(" \n"), "{output}");
    let steps: Vec<_> = output.lines().filter_map(|line| line.split_once(". ")).collect();
    let numbers: Vec<_> = steps.iter().filter(|(n, _)| n.len() == 1).map(|(n, _)| *n).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6"], "{output}");
    for (expected, times) in [
        ("listens on 127.0.0.1:", 4),
        ("puts greeting = \"bom dia\": on its disk after ", 1),
        ("   nairobi reads it ", 1),
        ("   osaka reads it ", 1),
        ("reads, with lisbon: greeting = \"boa tarde\", tram = \"28\", train = nothing", 1),
        ("reads, alone: greeting = \"konbanwa\", tram = nothing, train = \"loop line\"", 1),
        ("All three hold the same ", 1),
        ("rows compared, the same\n", 3),
        ("   waypost serve # ", 1),
    ] {
        assert_eq!(output.matches(expected).count(), times, "{expected:?} in {output}");
    }
    assert_is_empty(&directory);
}

/// Interrupts the demo at its first line. Returns its exit code and its stderr.
fn interrupt(directory: &TempDir) -> (Option<i32>, String) {
    let mut command = waypost(["demo"]);
    command.env("TMPDIR", directory.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
    stdout.read_line(&mut String::new()).expect("the output is UTF-8");
    let id = Pid::from_raw(i32::try_from(child.id()).expect("a process id fits"))
        .expect("a process id is not 0");
    kill_process(id, Signal::INT).expect("the demo runs");
    stdout.read_to_string(&mut String::new()).expect("the output is UTF-8");
    let output = child.wait_with_output().expect("the child can be waited for");
    (output.status.code(), String::from_utf8(output.stderr).expect("the output is UTF-8"))
}

#[test]
fn a_signal_ends_the_demo_and_it_leaves_no_files() {
    let directory = TempDir::new().unwrap();
    // On a very slow machine the demo may end before the signal arrives.
    let ended = (0..5).map(|_| interrupt(&directory)).find(|(code, _)| *code != Some(0));
    let (code, errors) = ended.expect("one of the tries interrupts the demo");
    assert_eq!(code, Some(1), "{errors}");
    assert_eq!(errors, "waypost: the demo was interrupted by SIGINT; its files are removed\n");
    assert_is_empty(&directory);
}
