//! A cluster from the command line: init, invite, join.

use std::{net::UdpSocket, path::Path, process::Output};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Server, run, waypost};

/// How often a test checks a condition, every 10 ms.
const LOOKS: usize = 3_000;

pub(crate) fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the output is UTF-8")
}

/// A UDP port that was free a moment ago: it is bound and released here.
pub(crate) fn free_port() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.local_addr().expect("a bound socket has an address").to_string()
}

pub(crate) fn cluster(command: &str, args: &[&str], directory: &Path) -> Output {
    let data = directory.join("data");
    waypost(["cluster", command])
        .args(args)
        .arg("--data")
        .arg(data)
        .output()
        .expect("the binary runs")
}

fn init(directory: &Path) -> Output {
    let listen = free_port();
    cluster(
        "init",
        &["--name", "prod", "--location", "fra", "--cluster-listen", &listen],
        directory,
    )
}

/// Runs `cluster invite`, which prints a token and nothing else on stdout.
pub(crate) fn token(args: &[&str], directory: &Path) -> String {
    let output = cluster("invite", args, directory);
    assert!(output.status.success(), "{output:?}");
    let token = text(&output.stdout).strip_suffix('\n').expect("stdout has one line");
    assert!(token.starts_with("wp1-") && !token.contains(char::is_whitespace), "{token}");
    assert!(text(&output.stderr).contains("waypost serve --join-file FILE"), "{output:?}");
    token.to_owned()
}

#[test]
fn a_second_location_joins_with_three_commands() {
    let first = TempDir::new().unwrap();
    let made = init(first.path());
    assert!(made.status.success(), "{made:?}");
    for part in ["created the cluster ", "prod", "fra", "ca.key in a safe place", "cluster invite"]
    {
        assert!(text(&made.stdout).contains(part), "{part}: {made:?}");
    }
    // One token before the server runs, and one while it runs.
    let early = token(&["--expires", "30m"], first.path());
    let first = Server::start_in(first, "127.0.0.1:0", &[]);
    let token = token(&["--name", "ams"], first.directory.path());
    assert_ne!(token, early);

    let second = TempDir::new().unwrap();
    let listen = free_port();
    let join = ["--join", &token, "--cluster-listen", &listen];
    let second = Server::start_in(second, "127.0.0.1:0", &join);
    assert!(second.log().contains("a member of the cluster prod as ams"), "{}", second.log());
    assert!(first.log().contains("the location ams is now a member"), "{}", first.log());

    let second = Server::start_in(second.stop(), "127.0.0.1:0", &join);
    assert!(second.log().contains("already a member of the cluster prod"), "{}", second.log());
    let second = Server::start_in(second.stop(), "127.0.0.1:0", &[]);
    assert!(second.into_log().contains("stopped"));
    assert!(first.into_log().contains("stopped"));
}

#[test]
fn an_unusable_token_is_reported_in_one_line_before_anything_is_served() {
    let first = TempDir::new().unwrap();
    assert!(init(first.path()).status.success());
    let token = token(&[], first.path());
    let joining = TempDir::new().unwrap();
    let data = joining.path().join("data").display().to_string();
    let typo =
        format!("{}{}", &token[..token.len() - 1], if token.ends_with('a') { 'b' } else { 'a' });
    let output = run(["serve", "--data", &data, "--join", &typo]);
    assert_eq!(output.status.code(), Some(2), "as for any flag with a wrong value");
    let error = text(&output.stderr);
    assert!(error.contains("--join: the token was mistyped or cut"), "{error}");
    assert!(!error.contains(&token[20..40]), "the error must not contain the token: {error}");

    // No server runs at the other end: the port is closed, and the token stays valid.
    let listen = free_port();
    let join = ["--join", &token, "--cluster-listen", &listen];
    let output = run(["serve", "--data", &data, "--listen", "127.0.0.1:0"].iter().chain(&join));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("The token is still valid"), "{output:?}");
    let output = run(["serve", "--data", &data, "--listen", "127.0.0.1:0"]);
    assert!(text(&output.stderr).contains("joining the cluster was not finished"), "{output:?}");
}

#[test]
fn cluster_commands_report_what_they_cannot_do() {
    let directory = TempDir::new().unwrap();
    let fails = |output: Output, part: &str| {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(text(&output.stdout), "");
        let error = text(&output.stderr);
        assert!(error.lines().count() == 1 && error.contains(part), "{error}");
    };
    fails(cluster("invite", &[], directory.path()), "has no cluster: create one with");
    let nowhere = ["--name", "prod", "--cluster-listen", "127.0.0.1:0"];
    fails(cluster("init", &nowhere, directory.path()), "set --advertise HOST:PORT");
    assert!(init(directory.path()).status.success());
    fails(init(directory.path()), "already has the files of a cluster: nothing was changed");
}

/// Makes a cluster and starts its first location.
pub(crate) fn first_location() -> Server {
    let directory = TempDir::new().expect("a temporary directory can be made");
    assert!(init(directory.path()).status.success());
    Server::start_in(directory, "127.0.0.1:0", &[])
}

/// Adds a location, and waits until it is ready.
pub(crate) fn join(first: &Server, name: &str) -> Server {
    let token = token(&["--name", name], first.directory.path());
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("token");
    std::fs::write(&file, token).expect("a file");
    let file = file.to_str().expect("UTF-8").to_owned();
    let args = ["--join-file", &file, "--cluster-listen", &free_port()];
    let server = Server::start_in(directory, "127.0.0.1:0", &args);
    eventually("the joining member is ready", || {
        server.connect().request("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
    });
    server
}

pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("did not happen: {what}");
}

pub(crate) fn put(server: &Server, key: &str, value: &str) {
    let length = value.len();
    let head = format!(
        "PUT /binding/sessions/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    );
    let response = server.connect().request(format!("{head}{value}"));
    assert_eq!(response.status, 200, "{}", response.body);
}

pub(crate) fn get(server: &Server, key: &str) -> String {
    server
        .connect()
        .request(format!("GET /binding/sessions/{key} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .body
}

fn cluster_online(server: &Server, args: &[&str]) -> Output {
    waypost(["cluster"])
        .args(args)
        .args(["--server", &server.url()])
        .output()
        .expect("the binary runs")
}

/// Waits until all locations hold the same bytes; a link may have to be reestablished first.
fn assert_equal(server: &Server) {
    eventually("all locations are equal", || {
        let verified = cluster_online(server, &["verify"]);
        assert!(!text(&verified.stdout).contains("differ"), "{verified:?}");
        verified.status.success() && text(&verified.stdout).contains("byte for byte")
    });
}

#[test]
fn three_locations_are_equal_after_one_was_killed_and_restarted() {
    let first = first_location();
    let made = run(["namespace", "create", "sessions", "--server", &first.url()]);
    assert!(made.status.success(), "{made:?}");
    for n in 0..200 {
        put(&first, &format!("early{n}"), "written before the others joined");
    }
    let second = join(&first, "ams");
    let mut third = join(&first, "sin");
    assert_eq!(get(&third, "early7"), "written before the others joined");
    put(&third, "new", "from the third");
    eventually("the first has the write of the third", || get(&first, "new") == "from the third");
    eventually("the second has the write of the third", || get(&second, "new") == "from the third");

    // The third is killed while the others write. Its acknowledged writes are there when it
    // restarts.
    put(&third, "last", "words");
    third.signal(Signal::KILL);
    third.wait();
    let directory = third.into_directory();
    put(&second, "meanwhile", "x".repeat(100_000).as_str());
    put(&first, "new", "another");
    let third = Server::start_in(directory, "127.0.0.1:0", &[]);
    eventually("the third has the write that it missed", || {
        get(&third, "meanwhile").len() == 100_000
    });
    eventually("the third has the overwritten value", || get(&third, "new") == "another");
    eventually("the first has the last write of the third", || get(&first, "last") == "words");
    eventually("the second has the last write of the third", || get(&second, "last") == "words");
    assert_equal(&first);
    assert_equal(&third);
    eventually("the status has no alarms", || cluster_online(&first, &["status"]).status.success());
    let status = cluster_online(&first, &["status"]);
    let shown = text(&status.stdout);
    assert!(shown.starts_with("fra of the cluster prod: "), "{shown}");
    assert!(shown.contains("ams ") && shown.contains("sin "), "{shown}");
    assert_eq!(first.metric(r#"waypost_peer_up{peer="sin"}"#).as_deref(), Some("1"));
    for server in [second, third, first] {
        assert!(server.into_log().contains("stopped"));
    }
}

#[test]
fn a_removed_location_reports_it_and_the_others_keep_running() {
    let first = first_location();
    let made = run(["namespace", "create", "sessions", "--server", &first.url()]);
    assert!(made.status.success(), "{made:?}");
    let second = join(&first, "ams");
    put(&second, "key", "while it was a member");
    let refused = cluster_online(&first, &["remove", "nobody", "--yes"]);
    assert!(text(&refused.stderr).contains("no location of the cluster"), "{refused:?}");
    let refused = cluster_online(&first, &["remove", "fra", "--yes"]);
    assert!(text(&refused.stderr).contains("can't remove itself"), "{refused:?}");
    let unconfirmed = cluster_online(&first, &["remove", "ams"]);
    assert!(text(&unconfirmed.stderr).contains("add --yes"), "{unconfirmed:?}");
    let removed = cluster_online(&first, &["remove", "ams", "--yes"]);
    assert!(removed.status.success(), "{removed:?}");
    eventually("the removed location knows", || {
        let ready = second.connect().request("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
        ready.status == 503 && ready.body.contains("was removed from the cluster")
    });
    let key = "PUT /binding/sessions/key HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
    let refused = second.connect().request(key);
    assert_eq!(refused.status, 503, "a removed location must reject writes: {}", refused.body);
    assert!(refused.body.contains("was removed from the cluster"), "{}", refused.body);
    let status = cluster_online(&second, &["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(
        text(&status.stdout).contains("to join again, start it with an empty data"),
        "{status:?}"
    );
    eventually("the other location has no alarms", || {
        let status = cluster_online(&first, &["status"]);
        status.status.success() && text(&status.stdout).contains("well, and alone")
    });
}

#[test]
fn a_server_without_a_cluster_explains_how_to_join_one() {
    let server = Server::start(&[]);
    let status = cluster_online(&server, &["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status.stderr).contains("this server is in no cluster"), "{status:?}");
    assert!(text(&status.stderr).contains("waypost cluster init"), "{status:?}");
    assert_eq!(server.metric("waypost_cluster_joined"), None);
}

#[test]
fn a_location_with_the_store_of_another_does_not_start() {
    let directory = first_location().stop();
    let other = Server::start(&["--namespaces", "sessions"]).stop();
    let store = |directory: &TempDir| directory.path().join("data/waypost.redb");
    std::fs::copy(store(&other), store(&directory)).expect("both stores exist");
    let data = directory.path().join("data").display().to_string();
    let output = run(["serve", "--listen", "127.0.0.1:0", "--data", &data]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("belongs to location") && error.contains("cluster.toml"), "{error}");
    assert!(error.contains("restore the two from one backup"), "{error}");
}

#[test]
fn a_location_whose_store_is_lost_gets_everything_from_the_others() {
    let first = first_location();
    let made = run(["namespace", "create", "sessions", "--server", &first.url()]);
    assert!(made.status.success(), "{made:?}");
    let second = join(&first, "ams");
    put(&second, "from-ams", "before the loss");
    put(&first, "from-fra", "before the loss");
    eventually("both locations have both", || {
        get(&first, "from-ams") == "before the loss"
            && get(&second, "from-fra") == "before the loss"
    });
    // The first one is the CA holder.
    let mut running = [Some(first), Some(second)];
    for lost in 0..2 {
        let directory = running[lost].take().expect("it runs").stop();
        std::fs::remove_file(directory.path().join("data/waypost.redb")).expect("a store");
        let server = Server::start_in(directory, "127.0.0.1:0", &[]);
        eventually("the location has everything again", || {
            server.connect().request("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
        });
        for key in ["from-ams", "from-fra"] {
            assert_eq!(get(&server, key), "before the loss", "{key}");
        }
        put(&server, &format!("after-{lost}"), "after the loss");
        let other = running[1 - lost].as_ref().expect("it runs");
        eventually("the other has what it writes", || {
            get(other, &format!("after-{lost}")) == "after the loss"
        });
        assert_equal(&server);
        running[lost] = Some(server);
    }
    for server in running.iter().flatten() {
        eventually("the status has no alarms", || {
            cluster_online(server, &["status"]).status.success()
        });
    }
}

#[test]
fn a_halted_location_admits_no_joining_member() {
    let first = first_location();
    let second = join(&first, "ams");
    let invited = token(&["--name", "sin"], first.directory.path());
    let removed = cluster_online(&second, &["remove", "fra", "--yes"]);
    assert!(removed.status.success(), "{removed:?}");
    eventually("the removed location knows", || {
        first
            .connect()
            .request("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            .body
            .contains("was removed")
    });
    let third = TempDir::new().expect("a temporary directory can be made");
    let data = third.path().join("data").display().to_string();
    let listen = free_port();
    let args = ["serve", "--data", &data, "--listen", "127.0.0.1:0", "--join", &invited];
    let refused = run(args.into_iter().chain(["--cluster-listen", &listen]));
    assert_eq!(refused.status.code(), Some(1));
    let error = text(&refused.stderr);
    assert!(error.contains("admits no location, because it has stopped replicating"), "{error}");
    assert!(error.contains("the token was not used"), "{error}");
    let status = cluster_online(&second, &["status"]);
    assert!(!text(&status.stdout).contains("sin"), "{status:?}");
}

#[test]
fn a_location_announces_its_changed_name_and_addresses_when_it_starts() {
    let first = first_location();
    let second = join(&first, "ams");
    let directory = second.stop();
    let file = directory.path().join("data/cluster/cluster.toml");
    let config = std::fs::read_to_string(&file).expect("a member has a cluster.toml");
    let (listen, advertise) = (free_port(), "192.0.2.1:8421");
    let mut about: toml::Table = toml::from_str(&config).expect("cluster.toml is TOML");
    about.insert("location".into(), "lhr".into());
    about.insert("listen".into(), listen.into());
    about.insert("advertise".into(), toml::Value::Array(vec![advertise.into()]));
    std::fs::write(&file, about.to_string()).expect("the file can be written");
    let second = Server::start_in(directory, "127.0.0.1:0", &[]);
    let shown = |server: &Server| {
        let status = cluster_online(server, &["status", "--json"]);
        text(&status.stdout).to_owned()
    };
    eventually("the first shows the new name", || shown(&first).contains(r#""name":"lhr""#));
    assert!(!shown(&first).contains("ams"), "{}", shown(&first));
    // A location that joins now learns the new address.
    let third = join(&first, "sin");
    let dial = std::fs::read_to_string(third.directory.path().join("data/cluster/cluster.toml"));
    assert!(dial.as_ref().is_ok_and(|config| config.contains(advertise)), "{dial:?}");
    drop(second);
}

#[test]
fn the_status_shows_when_certificates_expire() {
    let first = first_location();
    let status = cluster_online(&first, &["status"]);
    let shown = text(&status.stdout);
    assert!(shown.contains("certificates: this location's expires on 20"), "{shown}");
    let end = |of: &str| {
        let name = format!("waypost_cluster_certificate_not_after_seconds{{of=\"{of}\"}}");
        first
            .metric(&name)
            .and_then(|value| value.parse::<u64>().ok())
            .expect("the metric is a time")
    };
    let year = 365 * 24 * 60 * 60;
    assert!(end("ca") - end("location") >= 9 * year - 10, "{} {}", end("ca"), end("location"));
}
