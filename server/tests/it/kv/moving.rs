//! Import and export: between servers, files and directories, also after a kill.

use std::{fs, io::Write as _, path::Path, process::Stdio};

use tempfile::TempDir;

use super::{failed, kv, kv_with, printed, start};
use crate::{
    cluster::eventually,
    process::{Server, waypost},
};

/// Puts entries of all kinds, and returns the export of them.
fn fill(server: &Server) -> String {
    let large = "é\u{1f600}\"\\\n".repeat(150_000);
    let lines = [
        r#"{"key":"a","value":"text"}"#.to_owned(),
        r#"{"key":"b/é \"\\\n%25","value":"","metadata":{"n":123456789012345678901234567890,"é":[1.50,null]}}"#.into(),
        r#"{"key":"bytes","value":"//4A","base64":true,"expiration":7000000000}"#.into(),
        format!(
            r#"{{"key":"large","value":{},"metadata":1}}"#,
            serde_json::Value::from(large.as_str())
        ),
    ];
    let many =
        (0..2500).map(|number| format!(r#"{{"key":"many:{number:05}","value":"{number}"}}"#));
    let text = lines.into_iter().chain(many).collect::<Vec<_>>().join("\n") + "\n";
    let imported = printed(kv_with(server, &["import", "n", "-"], text.as_bytes()));
    assert_eq!(imported, "imported 2504 entries\n");
    text
}

/// All entries of a server.
fn export(server: &Server) -> String {
    printed(kv(server, &["export", "n"]))
}

/// A path as text.
fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn an_export_is_imported_without_a_difference() {
    let (one, other, directory) = (start(), start(), TempDir::new().unwrap());
    let lines = fill(&one);
    assert!(export(&one) == lines);
    let file = directory.path().join("export");
    printed(kv(&one, &["export", "n", "--output", text(&file)]));
    assert!(fs::read_to_string(&file).unwrap() == lines);
    for _ in 0..2 {
        assert_eq!(printed(kv(&other, &["import", "n", text(&file)])), "imported 2504 entries\n");
        assert!(export(&other) == lines);
    }
    let some = printed(kv(&one, &["export", "n", "--prefix", "many:0000"]));
    assert_eq!(some.lines().count(), 10);
    let json = printed(kv(&other, &["import", "n", text(&file), "--prefix", "b", "--json"]));
    assert!(json.starts_with(r#"{"imported":2,"#), "{json}");
}

#[test]
fn wranglers_json_is_written_and_read() {
    let (one, other, directory) = (start(), start(), TempDir::new().unwrap());
    assert_eq!(printed(kv(&one, &["export", "n", "--format", "wrangler"])), "[]\n");
    let lines = fill(&one);
    let json = printed(kv(&one, &["export", "n", "--format", "wrangler"]));
    let pairs: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!((pairs.len(), &pairs[0]["key"]), (2504, &"a".into()));
    let file = directory.path().join("data.json");
    fs::write(&file, format!("  \n{json}")).unwrap();
    assert_eq!(printed(kv(&other, &["import", "n", text(&file)])), "imported 2504 entries\n");
    assert!(export(&other) == lines);
    // As wrangler's users write it.
    let pretty = "[\n  {\n \"value\": \"YQ==\", \"base64\": true, \"expiration_ttl\": 3600.0, \"key\": \"x\"\n }, {\"key\":\"y\",\"value\":\"b\"}\n]";
    fs::write(&file, pretty).unwrap();
    assert_eq!(printed(kv(&other, &["import", "n", text(&file)])), "imported 2 entries\n");
    assert_eq!(printed(kv(&other, &["get", "n", "x"])), "a");
    assert!(printed(kv(&other, &["get", "n", "x", "--json"])).contains("expiration"));
}

#[test]
fn the_files_of_a_directory_are_entries() {
    let (server, directory) = (start(), TempDir::new().unwrap());
    let root = directory.path();
    fs::create_dir_all(root.join("a/b")).unwrap();
    for (path, value) in
        [("a.txt", &b"1"[..]), ("a/b/c d.bin", b"\xff\0"), ("a/é", b""), ("z", b"2")]
    {
        fs::write(root.join(path), value).unwrap();
    }
    std::os::unix::fs::symlink(root, root.join("a/loop")).unwrap();
    std::os::unix::fs::symlink(root.join("z"), root.join("link")).unwrap();
    assert_eq!(printed(kv(&server, &["import", "n", text(root)])), "imported 5 entries\n");
    let keys = printed(kv(&server, &["list", "n"]));
    assert_eq!(keys.lines().collect::<Vec<_>>(), ["a.txt", "a/b/c d.bin", "a/é", "link", "z"]);
    assert_eq!(kv(&server, &["get", "n", "a/b/c d.bin"]).stdout, b"\xff\0");
    let some = printed(kv(&server, &["import", "n", text(root), "--prefix", "a/"]));
    assert_eq!(some, "imported 2 entries\n");
    fs::write(root.join("long"), vec![b'x'; 26 << 20]).unwrap();
    let output = kv(&server, &["import", "n", text(root)]);
    assert_eq!(output.stdout, b"imported 5 entries\n");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("1 entries were not imported") && error.contains("/long is longer"),
        "{error}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn another_server_is_imported_with_its_token() {
    let directory = TempDir::new().unwrap();
    let admin = directory.path().join("admin");
    fs::write(&admin, crate::process::run(["token", "generate"]).stdout).unwrap();
    let one = start();
    let lines = fill(&one);
    let guarded = Server::start(&["--namespaces", "n", "--admin-token-file", text(&admin)]);
    // The token goes to the server of --from, so that a server of its own needs the variable.
    let (from, to) = (one.url(), guarded.url());
    let mut command =
        waypost(["kv", "--server", &to, "import", "n", "--from", &from, "--namespace-id", "n"]);
    let output = command.env("WAYPOST_TOKEN_FILE", &admin).output().unwrap();
    assert_eq!(printed(output), "imported 2504 entries\n");
    let other = start();
    let base = format!("{to}/client/v4");
    let import =
        ["import", "n", "--from", &base, "--namespace-id", "n", "--token-file", text(&admin)];
    assert_eq!(printed(kv(&other, &import)), "imported 2504 entries\n");
    assert!(export(&other) == lines);

    let (code, error) = failed(kv(&other, &import[..6]));
    assert!(code == 1 && error.contains("check --from-token-file"), "{error}");
    let wrong = ["import", "n", "--from", &from, "--namespace-id", "none"];
    let (_, error) = failed(kv(&other, &wrong));
    assert!(error.contains("check --namespace-id"), "{error}");
    let (code, error) = failed(kv(&other, &["import", "n", "--from", &from]));
    assert!(code == 2 && error.contains("add --namespace-id"), "{error}");
}

#[test]
fn an_import_continues_after_a_kill_without_a_duplicate_or_a_hole() {
    let (server, directory) = (start(), TempDir::new().unwrap());
    let state = directory.path().join("state");
    let line =
        |number: u32, value: &str| format!("{{\"key\":\"k{number:05}\",\"value\":\"{value}\"}}\n");
    let first: String = (0..2500).map(|number| line(number, "first")).collect();
    let arguments = ["import", "n", "-", "--resume", text(&state)];
    let url = server.url();
    let mut command = waypost(["kv", "--server", &url].iter().chain(&arguments));
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(first.as_bytes()).unwrap();
    stdin.flush().unwrap();
    // Two batches are full, and the third one waits for more.
    eventually("two batches are imported", || {
        fs::read_to_string(&state).is_ok_and(|text| text.contains(r#""items":2000"#))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(printed(kv(&server, &["list", "n"])).lines().count(), 2000);

    let second: String = (0..5000).map(|number| line(number, "second")).collect();
    let output = kv_with(&server, &arguments, second.as_bytes());
    assert_eq!(printed(output), "imported 5000 entries\n");
    assert!(!state.exists());
    let expected: String = (0..5000)
        .map(|number| line(number, if number < 2000 { "first" } else { "second" }))
        .collect();
    assert!(export(&server) == expected);
}

#[test]
fn the_file_of_an_import_belongs_to_it() {
    let (server, directory) = (start(), TempDir::new().unwrap());
    let (state, file) = (directory.path().join("state"), directory.path().join("file"));
    fs::write(&file, "{\"key\":\"a\",\"value\":\"b\"}\n{\"key\":\"c\"").unwrap();
    let import = ["import", "n", text(&file), "--resume", text(&state)];
    let (code, error) = failed(kv(&server, &import));
    assert!(code == 1 && error.contains("/file, line 2: ") && error.contains("cut off"), "{error}");
    assert!(state.exists());
    let (_, error) =
        failed(kv(&server, &["import", "n", text(directory.path()), "--resume", text(&state)]));
    assert!(error.contains("is of an import of ") && error.contains("remove it"), "{error}");
    fs::write(&state, "{").unwrap();
    let (_, error) = failed(kv(&server, &import));
    assert!(error.contains("is not a file of an import that was interrupted"), "{error}");
    fs::remove_file(&state).unwrap();
    fs::write(&file, "{\"key\":\"a\",\"value\":\"b\"}").unwrap();
    assert_eq!(printed(kv(&server, &import)), "imported 1 entries\n");
}

#[test]
fn an_export_continues_after_its_last_whole_line() {
    let (server, directory) = (start(), TempDir::new().unwrap());
    fill(&server);
    for format in ["ndjson", "wrangler"] {
        let whole = printed(kv(&server, &["export", "n", "--format", format]));
        let file = directory.path().join(format);
        let export = ["export", "n", "--format", format, "--output", text(&file), "--resume"];
        for cut in [0, 1, 20, whole.len() / 2, whole.len() - 30, whole.len() - 3] {
            fs::write(&file, &whole.as_bytes()[..cut]).unwrap();
            printed(kv(&server, &export));
            assert!(fs::read_to_string(&file).unwrap() == whole, "{format} cut at {cut}");
        }
    }
    let file = directory.path().join("wrangler");
    let (_, error) = failed(kv(&server, &["export", "n", "--output", text(&file)]));
    assert!(error.contains("exists already: add --resume"), "{error}");
    let (_, error) = failed(kv(&server, &["export", "n", "--output", text(&file), "--resume"]));
    assert!(error.contains("is complete"), "{error}");
    fs::write(&file, "something else\n").unwrap();
    let (_, error) = failed(kv(&server, &["export", "n", "--output", text(&file), "--resume"]));
    assert!(error.contains("is not an export that was interrupted"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "something else\n");
}

#[test]
fn entries_that_break_a_rule_are_counted_and_the_others_imported() {
    let server = start();
    let long = "x".repeat(513);
    let lines = format!(
        "{{\"key\":\"a\",\"value\":\"1\"}}\n{{\"key\":\"{long}\",\"value\":\"2\"}}\n\
         {{\"key\":\"past\",\"value\":\"3\",\"expiration\":1000000000}}\n\
         {{\"key\":\"bad\",\"value\":\"!\",\"base64\":true}}\n{{\"key\":\"b\",\"value\":\"4\",\"more\":{{}}}}\n"
    );
    let output = kv_with(&server, &["import", "n", "-"], lines.as_bytes());
    let printed_line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        printed_line,
        "imported 2 entries; left out 1 that have expired or expire too soon\n"
    );
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("2 entries were not imported"), "{error}");
    assert_eq!(output.status.code(), Some(1));
    // A batch of which nothing is valid.
    let line = r#"{"key":"past","value":"3","expiration":1000000000}"#;
    let output = printed(kv_with(&server, &["import", "n", "-"], line.as_bytes()));
    assert_eq!(output, "imported 0 entries; left out 1 that have expired or expire too soon\n");
    for (text, expected) in [
        ("{\"key\":1,\"value\":\"x\"}", "line 1"),
        ("\n\n{\"key\":\"a\",\"value\":\"x\"}\nnot json\n", "line"),
        ("[{\"key\":\"a\",\"value\":\"x\"},{\"key\":\"b\"}]", "after 1 entries"),
        ("[{\"key\":\"a\",\"value\":\"x\"}", "stdin, after 1 entries"),
    ] {
        let (code, error) = failed(kv_with(&server, &["import", "n", "-"], text.as_bytes()));
        assert!(code == 1 && error.contains(expected), "{text}: {error}");
    }
    assert_eq!(printed(kv_with(&server, &["import", "n", "-"], b" \n")), "imported 0 entries\n");
    let (_, error) = failed(kv(&server, &["import", "n", "/none/there"]));
    assert!(error.contains("can't read /none/there"), "{error}");
}
