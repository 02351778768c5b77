//! Tokens for parts of a namespace, what refusals show, and the last administrator.

use crate::{
    process::{Server, run},
    tokens::{create, directory, head, printed, send, start, text},
};

/// The id of a namespace.
fn id_of(server: &Server, admin: &str, title: &str) -> String {
    let list = send(server, "GET", "/v1/namespaces", Some(admin), "").1;
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let all = list["namespaces"].as_array().expect("a list");
    let found = all.iter().find(|one| one["title"] == title).expect("the namespace");
    found["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_token_for_a_prefix_reaches_the_keys_that_begin_with_it_and_no_others() {
    let (server, admin) = start(&[]);
    let id = id_of(&server, &admin, "a");
    let rest = format!("/client/v4/accounts/local/storage/kv/namespaces/{id}");
    for key in ["user:1", "other"] {
        assert_eq!(send(&server, "PUT", &format!("/binding/a/{key}"), Some(&admin), "v").0, 200);
    }
    let (reader, _) = create(&server, &admin, "\"kv:read=a/user:\"");
    let (writer, _) = create(&server, &admin, &format!("\"kv:write={id}/user:\""));
    let bulk = |keys: &str| format!("{{\"keys\":[{keys}]}}");
    for (method, target, body, reads, writes) in [
        ("GET", "/binding/a/user:1".into(), String::new(), true, true),
        ("GET", format!("/binding/{id}/user%3A1?urlencoded=true"), String::new(), true, true),
        ("GET", "/binding/a/other".into(), String::new(), false, false),
        ("GET", "/binding/a/user".into(), String::new(), false, false),
        ("GET", "/binding/a/USER:1".into(), String::new(), false, false),
        ("GET", "/binding/b/user:1".into(), String::new(), false, false),
        ("GET", "/binding/a/?prefix=user:".into(), String::new(), true, true),
        ("GET", "/binding/a/?prefix=user:1&limit=1".into(), String::new(), true, true),
        ("GET", "/binding/a/?prefix=use".into(), String::new(), false, false),
        ("GET", "/binding/a/".into(), String::new(), false, false),
        ("GET", "/binding/a/?prefix=%ff".into(), String::new(), false, false),
        ("GET", "/binding/a/?prefix=&prefix=user:".into(), String::new(), false, false),
        ("POST", "/binding/a/bulk/get".into(), bulk("\"user:1\",\"user:2\""), true, true),
        ("POST", "/binding/a/bulk/get".into(), bulk("\"user:1\",\"other\""), false, false),
        ("PUT", "/binding/a/user:2".into(), "v".into(), false, true),
        ("PUT", "/binding/a/other".into(), "v".into(), false, false),
        ("DELETE", "/binding/a/user:2".into(), String::new(), false, true),
        ("DELETE", "/binding/a/other".into(), String::new(), false, false),
        ("GET", format!("{rest}/values/user:1"), String::new(), true, true),
        ("GET", format!("{rest}/values/user%3A1"), String::new(), true, true),
        ("GET", format!("{rest}/values/other"), String::new(), false, false),
        ("GET", format!("{rest}/metadata/user:1"), String::new(), true, true),
        ("GET", format!("{rest}/metadata/other"), String::new(), false, false),
        ("GET", format!("{rest}/keys?prefix=user:"), String::new(), true, true),
        ("GET", format!("{rest}/keys"), String::new(), false, false),
        ("POST", format!("{rest}/bulk/get"), bulk("\"user:1\""), true, true),
        ("POST", format!("{rest}/bulk/get"), bulk("\"other\""), false, false),
        ("PUT", format!("{rest}/values/user:3"), "v".into(), false, true),
        ("PUT", format!("{rest}/values/other"), "v".into(), false, false),
        ("PUT", format!("{rest}/bulk"), "[]".into(), false, false),
        ("POST", format!("{rest}/bulk/delete"), "[]".into(), false, false),
        ("DELETE", format!("{rest}/values/user:3"), String::new(), false, true),
        ("GET", "/v1/namespaces".into(), String::new(), false, false),
    ] {
        for (token, permitted) in [(&reader, reads), (&writer, writes)] {
            let (status, answer) = send(&server, method, &target, Some(token), &body);
            assert_eq!(status != 403, permitted, "{method} {target} {body}: {status} {answer}");
            assert_ne!(status, 401, "{method} {target}");
        }
    }
    let listed = send(&server, "GET", "/binding/a/?prefix=user:", Some(&reader), "").1;
    assert!(listed.contains("user:1") && !listed.contains("other"), "{listed}");
}

#[test]
fn a_refusal_shows_nothing_of_a_namespace_that_the_token_may_not_use() {
    let (server, admin) = start(&[]);
    let id = id_of(&server, &admin, "a");
    let (token, _) = create(&server, &admin, "\"kv:read=b\"");
    let none = "0123456789abcdef0123456789abcdef";
    let rest = "/client/v4/accounts/local/storage/kv/namespaces";
    for target in
        ["/binding/ID/k".to_owned(), format!("{rest}/ID/values/k"), format!("{rest}/ID/keys")]
    {
        let answers = [&id[..], none].map(|id| {
            let (status, answer) =
                send(&server, "GET", &target.replace("ID", id), Some(&token), "");
            assert_eq!(status, 403, "{target}");
            assert!(answer.contains(&format!("lacks the scope kv:read={id}")), "{answer}");
            answer.replace(id, "ID")
        });
        assert_eq!(answers[0], answers[1], "it shows whether the namespace exists");
    }
    // The command that it proposes is one word of a shell.
    let target = "/binding/x%27%3B%20reboot%20%23%1b/k";
    let (_, answer) = send(&server, "GET", target, Some(&token), "");
    assert!(answer.contains(r"--scope 'kv:read=x'\''; reboot #"), "{answer}");
    assert!(!answer.contains('\u{1b}'));
}

#[test]
fn a_put_whose_token_is_revoked_meanwhile_stores_nothing() {
    let (server, admin) = start(&[]);
    let rest = format!(
        "/client/v4/accounts/local/storage/kv/namespaces/{}/values/k",
        id_of(&server, &admin, "a")
    );
    for target in ["/binding/a/k", &rest] {
        let (token, id) = create(&server, &admin, "\"kv:write=a\"");
        let mut slow = server.connect();
        slow.send(format!(
            "PUT {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: 200000\r\n\r\n"
        ));
        // It is admitted.
        assert_eq!(slow.response().status, 100);
        slow.send(vec![b'v'; 100_000]);
        let revoked = send(&server, "DELETE", &format!("/v1/tokens/{id}"), Some(&admin), "");
        assert_eq!(revoked.0, 200);
        slow.send(vec![b'v'; 100_000]);
        let refused = slow.response();
        assert_eq!(refused.status, 401, "{}", refused.body);
        assert!(refused.body.contains("was revoked"), "{}", refused.body);
        assert_eq!(send(&server, "GET", target, Some(&admin), "").0, 404);
    }
}

#[test]
fn the_last_administrator_is_revoked_only_by_force() {
    let (directory, admin) = directory();
    let server = Server::start_in(directory, "127.0.0.1:0", &[]);
    let list = send(&server, "GET", "/v1/tokens", Some(&admin), "").1;
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let first = list["tokens"][0]["id"].as_str().expect("an id").to_owned();
    create(&server, &admin, "\"kv:write=*\"");
    let target = format!("/v1/tokens/{first}");
    for body in ["", "{}", "{\"force\":false}"] {
        let (status, answer) = send(&server, "DELETE", &target, Some(&admin), body);
        assert_eq!(status, 409, "{answer}");
        assert!(answer.contains("last token with the scope admin"), "{answer}");
        assert!(answer.contains("--force"), "{answer}");
    }
    assert_eq!(send(&server, "DELETE", &target, Some(&admin), "{\"forced\":true}").0, 400);
    let (second, _) = create(&server, &admin, "\"admin\"");
    assert_eq!(send(&server, "DELETE", &target, Some(&admin), "").0, 200);
    let list = send(&server, "GET", "/v1/tokens", Some(&second), "").1;
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let tokens = list["tokens"].as_array().expect("a list");
    let last = tokens.iter().find(|one| one["scopes"][0] == "admin" && one["revoked"] == false);
    let last = last.expect("a token")["id"].as_str().expect("an id").to_owned();
    let directory = server.stop();
    let data = directory.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let refused = run(["token", "revoke", &last, "--data", data]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("--force"), "{}", text(&refused.stderr));
    printed(&run(["token", "revoke", &last, "--force", "--data", data]));
}

#[test]
fn refusals_by_scope_are_counted_for_every_api() {
    let (server, admin) = start(&[]);
    let (token, _) = create(&server, &admin, "\"ops\"");
    let limit = "/ratelimit?namespace=n&key=k&limit=9&period=60";
    let body = "{\"namespace\":\"n\",\"key\":\"k\",\"limit\":9,\"period\":60}";
    let rest = "/client/v4/accounts/local/storage/kv/namespaces";
    let requests = [
        ("GET", limit, ""),
        ("POST", "/ratelimit", body),
        ("GET", "/binding/a/k", ""),
        ("GET", rest, ""),
        ("GET", "/v1/tokens", ""),
    ];
    for (count, (method, target, body)) in requests.into_iter().enumerate() {
        assert_eq!(send(&server, method, target, Some(&token), body).0, 403, "{target}");
        let metrics = server.connect().request(head("GET", "/metrics", Some(&token), "")).body;
        let line = format!("waypost_auth_failures_total{{reason=\"scope\"}} {}\n", count + 1);
        assert!(metrics.contains(&line), "{method} {target}: {metrics}");
    }
}
