use super::*;

#[test]
fn an_address_has_a_host_and_a_port_that_others_can_dial() {
    for text in [
        "fra.example:8421",
        "fra.example.:8421",
        "192.0.2.1:1",
        "[2001:db8::1]:65535",
        "[::1]:1",
        "127.0.0.1:1",
        "a_b-c:9",
        "1a:9",
        "4.example:9",
    ] {
        assert_eq!(text.parse::<Address>().expect(text).as_str(), text);
    }
    let long = format!("{}:8421", "x".repeat(270));
    for text in ["", "a", ":1", "a:", "a:0", "a:65536", "::1:5", "a b:1", "udp://a:1", &long] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
    for unreachable in [
        "0.0.0.0",
        "0.1.2.3",
        "[::]",
        "[::ffff:0.0.0.0]",
        "224.0.0.1",
        "255.255.255.255",
        "[ff02::1]",
        "[fe80::1]",
        "[fe80::1%eth0]",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "1",
        "0x7f.1",
        "a.0x1",
        "01.2.3.4",
        "[1.2.3.4]",
        "a..b",
        ".a",
        "-a",
        "a-",
        "[2001:db8::1",
        "2001:db8::1]",
        "[]",
        "*",
        "a.b..",
        "user@a",
    ] {
        assert!(format!("{unreachable}:8421").parse::<Address>().is_err(), "{unreachable}");
    }
}

#[test]
fn a_location_listens_on_the_family_of_each_address_that_it_advertises() {
    let check = |address: &str, listen: &str| {
        let addresses = ["fra.example:1".parse().unwrap(), address.parse().unwrap()];
        check_families(&addresses, listen.parse().unwrap()).is_ok()
    };
    let (v4, v6) = ("192.0.2.1:8421", "[2001:db8::1]:8421");
    for (address, listen, is_right) in [
        (v4, "[::]:8421", true),
        (v6, "[::]:8421", true),
        (v4, "0.0.0.0:8421", true),
        (v6, "0.0.0.0:8421", false),
        (v6, "10.0.0.1:8421", false),
        (v4, "[2001:db8::5]:8421", false),
        (v6, "[2001:db8::5]:8421", true),
        ("name.example:1", "0.0.0.0:8421", true),
    ] {
        assert_eq!(check(address, listen), is_right, "{address} {listen}");
    }
    let error = check_families(&[v6.parse().unwrap()], "0.0.0.0:8421".parse().unwrap());
    let text = error.unwrap_err().to_string();
    assert!(text.contains(v6) && text.contains("[::]:8421"), "{text}");
}

#[test]
fn a_location_is_reached_where_it_listens_if_others_can_dial_that() {
    let at = |text: &str| advertised(text.parse().unwrap()).map(|address| address.to_string());
    assert_eq!(at("192.0.2.1:8421").as_deref(), Some("192.0.2.1:8421"));
    assert_eq!(at("[::1]:8421").as_deref(), Some("[::1]:8421"));
    assert_eq!(at("127.0.0.1:0"), None);
    assert_eq!(at("0.0.0.0:0"), None);
}

#[test]
fn a_name_is_short_and_visible() {
    assert!("Frankfurt am Main".parse::<Name>().is_ok());
    assert!("K\u{f6}ln \u{4e2d}".parse::<Name>().is_ok());
    let long = "x".repeat(129);
    for text in ["", "a\nb", " a", "a ", "\u{a0}a", "a\u{200b}", "a\u{202e}b", "\u{feff}a", &long] {
        assert!(text.parse::<Name>().is_err(), "{text}");
    }
}

#[test]
fn names_and_addresses_that_a_former_program_wrote_are_read() {
    #[derive(Deserialize)]
    struct Kept {
        location: Name,
        advertise: Vec<Address>,
    }
    let file = "location = 'fra '\nadvertise = ['0.0.0.0:8421', '-a:1', '[::]:2', 'b:3']";
    let kept: Kept = toml::from_str(file).expect("they are kept");
    assert_eq!(kept.location.as_str(), "fra ");
    let dialable = kept.advertise.iter().filter(|address| address.is_dialable());
    assert_eq!(dialable.map(Address::as_str).collect::<Vec<_>>(), ["b:3"]);
    for wrong in ["''", "\"a\\n\""] {
        assert!(toml::from_str::<Kept>(&format!("location = {wrong}\nadvertise = []")).is_err());
    }
    for wrong in ["a", "a b:1", "[x]:1", "a:0"] {
        let file = format!("location = 'a'\nadvertise = ['{wrong}']");
        assert!(toml::from_str::<Kept>(&file).is_err(), "{wrong}");
    }
}

#[test]
fn ids_read_back_from_their_digits() {
    let id = ClusterId(std::array::from_fn(|i| u8::try_from(i * 15).unwrap()));
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!("12".parse::<ClusterId>().is_err());
}
