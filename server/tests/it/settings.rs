//! Settings: their sources, the precedence of sources, and the errors for invalid settings.

use std::{fs, path::Path};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use tempfile::TempDir;

use crate::process::{Server, run, waypost};

fn fails(args: &[&str], expected: &str) {
    let output = run(args);
    let error = String::from_utf8(output.stderr).expect("stderr is UTF-8");
    assert!(!output.status.success(), "{args:?}");
    assert!(error.contains(expected), "{args:?}: {expected:?} is not in {error:?}");
}

#[test]
fn a_file_sets_what_the_command_line_does_not() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("waypost.toml");
    let data = directory.path().join("from-file");
    let text = format!(
        "listen = \"0.0.0.0:1\"\ndata = {data:?}\nnamespaces = [\"one\", \"t, w o\"]\n\
         cache = \"8MiB\"\ndurability = \"relaxed:50ms\"\nqueue = 7\nmax-connections = 9\n"
    );
    // The command line overrides listen and data in the file, which must be valid nevertheless.
    fs::write(&file, text.replace("0.0.0.0", "127.0.0.1")).unwrap();
    let file = file.to_str().unwrap();
    let server = Server::start(&["--config", file]);
    assert_eq!(server.metric("waypost_namespaces ").unwrap(), "2");
    assert_eq!(server.metric("waypost_queue_capacity ").unwrap(), "7");
    assert!(!Path::new(&data).exists());
    // A namespace that exists is not created again.
    let server = Server::start_in(server.stop(), "127.0.0.1:0", &["--config", file]);
    assert_eq!(server.metric("waypost_namespaces ").unwrap(), "2");
}

#[test]
fn the_command_line_overrides_the_environment_and_that_overrides_the_file() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("file.toml"), format!("data = {:?}\n", path("of-file"))).unwrap();
    fs::write(path("of-file"), "").unwrap();
    fs::write(path("of-environment"), "").unwrap();
    fs::write(path("of-command-line"), "").unwrap();
    // A data directory that is a file can't be opened, and the error contains the path that was
    // tried.
    let tried = |environment: bool, flag: bool| {
        let mut command = waypost(["serve", "--listen", "127.0.0.1:0", "--config"]);
        command.arg(path("file.toml"));
        if environment {
            command.env("WAYPOST_DATA", path("of-environment"));
        }
        if flag {
            command.arg("--data").arg(path("of-command-line"));
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    for (environment, flag, expected) in [
        (false, false, "of-file"),
        (true, false, "of-environment"),
        (true, true, "of-command-line"),
    ] {
        let error = tried(environment, flag);
        assert!(error.contains(expected) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn an_invalid_file_is_reported_with_its_line() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("waypost.toml");
    let name = file.to_str().unwrap();
    for (text, line, expected) in [
        ("data = \"d\"\nlisen = \"x\"\n", 2, "lisen"),
        ("idle_timeout = \"1s\"\n", 1, "idle-timeout"),
        ("\n\nlisten = \"0.0.0.0:8420\"\n", 3, "set --tls-cert and --tls-key"),
        ("\nidle-timeout = 75\n", 2, "string"),
        ("idle-timeout = \"75\"\n", 1, "500ms, 30s"),
        ("data = \"d\"\nqueue = 0\n", 2, "1 to"),
        ("max-header-size = \"1KiB\"\n", 1, "8192"),
        ("durability = \"never\"\n", 1, "relaxed:100ms"),
        ("data = \"d\"\ndata = \"e\"\n", 2, "duplicate"),
        ("data = \n", 1, ""),
        ("data = \"d\"\nlog = \"waypost=bogus\"\n", 2, "waypost=bogus"),
        ("\nnamespaces = [\"ok\", \"\"]\n", 2, "1 to 512 bytes"),
        ("[server]\n", 1, "server"),
    ] {
        fs::write(&file, text).unwrap();
        let output = run(["serve", "--config", name]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text:?}");
        assert!(error.starts_with(&format!("waypost: {name}:{line}: ")), "{text:?}: {error}");
        assert!(error.contains(expected) && error.lines().count() == 1, "{text:?}: {error}");
    }
    fails(&["serve", "--config", "/nowhere/at/all.toml"], "can't read /nowhere/at/all.toml");
}

#[test]
fn an_invalid_flag_is_reported() {
    fails(&["serve", "--listen", "0.0.0.0:8420"], "--listen: other machines can reach");
    fails(&["serve", "--lisen", "x"], "--listen");
    fails(&["serve", "--log", "a=b=c"], "log");
    fails(&["serve", "--namespaces", "a,,b"], "1 to 512 bytes");
    let environment = waypost(["serve"]).env("WAYPOST_QUEUE", "many").output().unwrap();
    assert!(String::from_utf8(environment.stderr).unwrap().contains("many"));
}

#[test]
fn an_empty_environment_variable_creates_no_namespaces() {
    for (titles, count) in [("", "0"), ("a", "1"), ("a,b c", "2")] {
        let mut command = waypost(["serve", "--listen", "127.0.0.1:0"]);
        command.env("WAYPOST_NAMESPACES", titles);
        let server = Server::start_with(command, TempDir::new().unwrap(), &[]);
        assert_eq!(server.metric("waypost_namespaces ").unwrap(), count, "{titles:?}");
    }
    let server = Server::start(&["--namespaces", "a,b", "--namespaces", "c"]);
    assert_eq!(server.metric("waypost_namespaces ").unwrap(), "3");
}

#[test]
fn a_wrong_variable_is_named_and_an_empty_one_is_not_set() {
    let directory = TempDir::new().unwrap();
    let fails = |args: &[&str], variable: &str, value: &str, expected: &str| {
        let mut command = waypost(args);
        command.current_dir(&directory).env(variable, value);
        let output = command.output().expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        let named = format!("waypost: {variable}: ");
        assert!(text.starts_with(&named) && text.contains(expected), "{text}");
    };
    let list = ["namespace", "list"];
    fails(&list, "WAYPOST_SERVER", "localhost", "write http://HOST:PORT");
    fails(&["doctor"], "WAYPOST_SERVER", "ftp://x", "write http://HOST:PORT");
    fails(&["cluster", "status"], "WAYPOST_SERVER", "x", "write http://HOST:PORT");
    fails(&["serve"], "WAYPOST_LOG", "verbose", "error, warn, info, debug, trace");
    let mut command = waypost(["serve", "--data", "data"]);
    command.current_dir(&directory).env("WAYPOST_CONFIG", "missing.toml");
    let output = command.output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("WAYPOST_CONFIG: can't read missing.toml"), "{text}");

    let mut command = waypost(["serve", "--listen", "127.0.0.1:0"]);
    for setting in waypost::config::SETTINGS {
        command.env(setting.variable(), "");
    }
    command.env("WAYPOST_CONFIG", "");
    let server = Server::start_with(command, TempDir::new().unwrap(), &["--namespaces", "n"]);
    let mut list = waypost(["namespace", "list", "--server", &server.url()]);
    assert!(list.env("WAYPOST_SERVER", "").output().expect("the binary runs").status.success());
}

#[test]
fn a_data_directory_that_can_not_be_used_is_named_with_what_to_do() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "text").unwrap();
    for data in [file.clone(), file.join("below")] {
        let args = ["serve".as_ref(), "--data".as_ref(), data.as_os_str()];
        let output = run(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(file.to_str().unwrap()), "{text}");
        assert!(text.contains("name a directory, or move the file away"), "{text}");
    }
    let init =
        ["cluster", "init", "--name", "c", "--location", "a", "--advertise", "a:1", "--data"];
    let output = run(init.iter().map(|arg| (*arg).into()).chain([file.clone().into_os_string()]));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("name a directory, or move the file away"), "{text}");
}

/// The number of threads of the async runtime, including those for blocking work.
#[cfg(target_os = "linux")]
fn runtime_threads(server: &Server) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the process exists");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("tokio-")).count()
}

#[cfg(target_os = "linux")]
#[test]
fn the_configured_number_of_threads_serves() {
    let (few, many) = (Server::start(&["--threads", "1"]), Server::start(&["--threads", "40"]));
    assert!(runtime_threads(&few) < 40);
    // Each thread sets its own name, some time after its start.
    let named = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        runtime_threads(&many) >= 40
    });
    assert!(named, "there are {}", runtime_threads(&many));
    fails(&["serve", "--threads", "0"], "1 to 1024");
}

#[cfg(target_os = "linux")]
#[test]
fn exceeding_the_system_limit_of_threads_is_reported() {
    let limited = "ulimit -v 1000000; exec \"$0\" serve --listen 127.0.0.1:0 --threads 1024";
    let directory = TempDir::new().unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", limited, env!("CARGO_BIN_EXE_waypost"), "--data"]).arg(directory.path());
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.starts_with("waypost: can't start 1024 threads: "), "{error}");
    assert!(error.contains("fewer with --threads") && error.lines().count() == 1, "{error}");
}

#[test]
fn an_address_in_use_is_reported() {
    let server = Server::start(&[]);
    fails(&["serve", "--listen", &server.address], "is in use");
}

#[test]
fn a_data_directory_in_use_is_reported() {
    let server = Server::start(&[]);
    let data = server.directory.path().join("data");
    let data = data.to_str().unwrap();
    fails(&["serve", "--listen", "127.0.0.1:0", "--data", data], "in use by another process");
    assert_eq!(server.connect().request("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
}

#[tokio::test]
async fn the_log_contains_no_keys_and_no_values() {
    let server = Server::start(&["--namespaces", "n", "--log", "trace"]);
    let mut peer = server.connect();
    let put =
        "PUT /binding/n/secret-key HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nsecret-value";
    assert_eq!(peer.request(put).status, 200);
    let get = "GET /binding/n/secret-key HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(peer.request(get).body, "secret-value");
    let bad = "GET /binding/n/secret-key%zz?urlencoded=true HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(peer.request(bad).status, 400);
    // The HTTP/2 library would log much more.
    let (mut sender, _connection) = crate::http::http2(&server.address).await;
    let request = Request::get(format!("http://{}/binding/n/secret-key", server.address));
    let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "secret-value");
    let log = server.into_log();
    assert!(log.contains("SIGTERM") && !log.contains("secret"), "{log}");
}
