//! The addresses of locations: both families, and those that nobody can reach.

use std::net::{Ipv6Addr, UdpSocket};

use tempfile::TempDir;

use crate::{
    cluster::{cluster, eventually, free_port, get, put, text, token},
    process::{Server, run},
};

/// Whether this machine has IPv6, without which these tests are skipped.
fn has_ipv6() -> bool {
    let has_it = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has_it {
        eprintln!("skipped: this machine has no IPv6");
    }
    has_it
}

/// The port of an address.
fn port(address: &str) -> &str {
    address.rsplit_once(':').expect("an address has a port").1
}

#[test]
fn a_location_that_listens_on_all_addresses_is_reached_at_those_of_both_families() {
    if !has_ipv6() {
        return;
    }
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (port_of_first, port_of_second) = (free_port(), free_port());
    let all = |address: &str| format!("[::]:{}", port(address));
    let (v4, v6) = (port_of_first.clone(), format!("[::1]:{}", port(&port_of_first)));
    for advertise in [&v6, &v4] {
        let first = TempDir::new().unwrap();
        let listen = all(&port_of_first);
        let args = ["--name", "c", "--advertise", advertise, "--cluster-listen", &listen];
        let made = cluster("init", &args, first.path());
        assert!(made.status.success(), "{made:?}");
    }
    let listen = all(&port_of_first);
    let both = format!("{v6},{v4}");
    let args = ["--name", "c", "--advertise", &both, "--cluster-listen", &listen];
    assert!(cluster("init", &args, first.path()).status.success());
    let first = Server::start_in(first, "127.0.0.1:0", &["--namespaces", "sessions"]);
    let token = token(&["--name", "ams"], first.directory.path());
    let advertise = format!("[::1]:{}", port(&port_of_second));
    let listen = all(&port_of_second);
    let join = ["--join", &token, "--advertise", &advertise, "--cluster-listen", &listen];
    let second = Server::start_in(second, "127.0.0.1:0", &join);
    let ready = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    eventually("joined", || second.connect().request(ready).status == 200);
    put(&first, "k", "v");
    eventually("replicated", || get(&second, "k") == "v");
    assert!(!second.log().contains("::ffff:"), "{}", second.log());
}

#[test]
fn a_token_is_not_used_if_others_could_not_reach_the_location() {
    let first = TempDir::new().unwrap();
    let (listen, taken) = (free_port(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let init = ["--name", "c", "--cluster-listen", &listen];
    assert!(cluster("init", &init, first.path()).status.success());
    let first = Server::start_in(first, "127.0.0.1:0", &[]);
    let token = token(&[], first.directory.path());
    let data = TempDir::new().unwrap();
    let join = |advertise: &str, listen: &str| {
        let data = data.path().join("data").display().to_string();
        let output = run([
            "serve",
            "--data",
            &data,
            "--listen",
            "127.0.0.1:0",
            "--join",
            &token,
            "--advertise",
            advertise,
            "--cluster-listen",
            listen,
        ]);
        assert!(!output.status.success(), "{output:?}");
        text(&output.stderr).to_owned()
    };
    let (v6, free) = ("[2001:db8::1]:8421", free_port());
    let taken = taken.local_addr().unwrap().to_string();
    for (advertise, listen, expected) in [
        (v6, "0.0.0.0:0", "The token was not used"),
        (v6, &free, "set --cluster-listen to an address of the same family"),
        ("192.0.2.1:8421", "[::1]:0", "The token was not used"),
        ("127.0.0.1:8421", &taken, "free that port"),
        (
            "127.0.0.1:8421",
            "192.0.2.77:8421",
            "can't listen for other locations at 192.0.2.77:8421",
        ),
        ("0.0.0.0:8421", &free, "--advertise: "),
        ("[::]:8421", &free, "--advertise: "),
        ("224.0.0.1:8421", &free, "--advertise: "),
        ("256.1.1.1:8421", &free, "--advertise: "),
        ("127.0.0.1:0", &free, "--advertise: "),
    ] {
        let error = join(advertise, listen);
        assert!(error.contains(expected) && error.lines().count() == 1, "{advertise}: {error}");
    }
    // The same token works afterwards.
    let server = Server::start_in(
        data,
        "127.0.0.1:0",
        &["--join", &token, "--cluster-listen", &free, "--location", "ams"],
    );
    assert!(server.log().contains("a member of the cluster c as ams"), "{}", server.log());
    let init = ["--name", "c", "--advertise", v6, "--cluster-listen", "0.0.0.0:8421"];
    let refused = cluster("init", &init, TempDir::new().unwrap().path());
    assert!(text(&refused.stderr).contains("same family"), "{refused:?}");
}

#[test]
fn settings_that_count_only_in_a_join_are_warned_of_afterwards() {
    let directory = TempDir::new().unwrap();
    let listen = free_port();
    let init = ["--name", "c", "--location", "fra", "--cluster-listen", &listen];
    assert!(cluster("init", &init, directory.path()).status.success());
    let same = Server::start_in(directory, "127.0.0.1:0", &["--cluster-listen", &listen]);
    assert!(!same.log().contains("has no effect"), "{}", same.log());
    let other = ["--cluster-listen", "127.0.0.1:1", "--location", "ams", "--advertise", "a:1"];
    let server = Server::start_in(same.stop(), "127.0.0.1:0", &other);
    for (name, key) in
        [("cluster-listen", "listen"), ("location", "location"), ("advertise", "advertise")]
    {
        let log = server.log();
        let warned =
            log.lines().find(|line| line.contains(&format!("the setting {name} has no effect")));
        let warned = warned.unwrap_or_else(|| panic!("{name} is not in {log}"));
        assert!(
            warned.contains("WARN") && warned.contains(&format!("change `{key}` in")),
            "{warned}"
        );
    }
    let alone = Server::start(&["--cluster-listen", "127.0.0.1:1"]);
    assert!(alone.log().contains("this server is in no cluster"), "{}", alone.log());
}
