//! Every environment variable × (missing, empty, malformed, out of range, contradictory).

use super::*;

/// What a class of input is called and which values stand for it.
struct Row {
    variable: &'static str,
    /// Missing and empty are the same: refused, or the default holds.
    required: bool,
    /// What every refusal says is accepted.
    accepted: &'static str,
    /// Refused without being shown: a token may stand in the wrong variable.
    malformed: &'static [&'static str],
    /// Refused and shown: value, and how it is shown.
    out_of_range: &'static [(&'static str, &'static str)],
    /// Other variables with it, and what is said; the refusal may name the other one.
    contradictory: &'static [(&'static [(&'static str, &'static str)], &'static str)],
}

const ROW: Row = Row {
    variable: "",
    required: false,
    accepted: "",
    malformed: &[],
    out_of_range: &[],
    contradictory: &[],
};

/// Passed on as they are: nothing of them is malformed by itself. A file that cannot be read is
/// refused at the start (tests/environment.rs).
const FREE: [&str; 1] = ["CLOUD_CA_FILE"];

const IP: &str = "an IPv4 or IPv6 address of one host";
const PORT: &str = "a port number from 1 to 65535";
const NAME: &str = "1 to 253 letters, digits";

const TABLE: &[Row] = &[
    Row {
        variable: "WORKER_TOKEN",
        required: true,
        accepted: "cmw_ and 64 lowercase hexadecimal characters",
        malformed: &[
            "token",
            "cmw_",
            "cmc_0000000000000000000000000000000000000000000000000000000000000000",
            "CMW_A1B2C3D4E5F67890A1B2C3D4E5F67890A1B2C3D4E5F67890A1B2C3D4E5F67890",
            "cmw_a1b2c3d4e5f67890a1b2c3d4e5f67890a1b2c3d4e5f67890a1b2c3d4e5f6789",
            "cmw_a1b2c3d4e5f67890a1b2c3d4e5f67890a1b2c3d4e5f67890a1b2c3d4e5f67890 ",
            "cmw_a1b2c3d4e5f67890a1b2c3d4e5f67890a1b2c3d4e5f67890a1b2c3d4e5f6789g",
        ],
        ..ROW
    },
    Row {
        variable: "CLOUD_URL",
        required: true,
        accepted: "host:port",
        malformed: &[
            "https://wg.example:443",
            "wg.example:",
            ":443",
            "wg.example:443:1",
            "fe80::1",
            "[fe80::1",
            "[fe80::1]x",
            "[10.0.0.1]:1",
            "wg.example/path",
            "wg example",
            "-bad.example",
            "10.0.0.256:443",
            "user@wg.example",
            "wg.example:+1",
            "wg.example:http",
        ],
        out_of_range: &[
            ("wg.example:0", "the port 0"),
            ("wg.example:65536", "the port 65536"),
            ("[::1]:70000", "the port 70000"),
        ],
        ..ROW
    },
    Row {
        variable: "WORKER_NAME",
        accepted: "1 to 128 printable characters",
        malformed: &["a\nb", " padded", "padded ", "\u{fffd}bad"],
        ..ROW
    },
    Row {
        variable: "LOG_LEVEL",
        accepted: "error, warn, info, debug or trace",
        malformed: &["INFO", "verbose", "5", "info,debug"],
        ..ROW
    },
    Row {
        variable: "LOG_FORMAT",
        accepted: "json or pretty",
        malformed: &["JSON", "text"],
        ..ROW
    },
    Row {
        variable: "HEALTH_PORT",
        accepted: PORT,
        malformed: &["http", "+80", "80 ", "0x50", "127.0.0.1:80"],
        out_of_range: &[("0", "is 0"), ("65536", "is 65536"), ("-1", "is -1")],
        ..ROW
    },
    Row {
        variable: "SIP_IP",
        accepted: IP,
        malformed: &[
            "10.0.0",
            "host",
            "10.0.0.1:5060",
            "10.0.0.1/24",
            "fe80::1%eth0",
        ],
        out_of_range: &[
            ("0.0.0.0", "is 0.0.0.0"),
            ("::", "is ::"),
            ("::ffff:0.0.0.0", "is 0.0.0.0"),
            ("224.0.0.1", "is 224.0.0.1"),
            ("ff02::1", "is ff02::1"),
            ("255.255.255.255", "is 255.255.255.255"),
        ],
        ..ROW
    },
    Row {
        variable: "MEDIA_IP",
        accepted: IP,
        malformed: &["x", "10.0.0.1:5060"],
        out_of_range: &[("0.0.0.0", "is 0.0.0.0")],
        ..ROW
    },
    Row {
        variable: "SDP_IP",
        accepted: IP,
        malformed: &["host.example"],
        out_of_range: &[("0.0.0.0", "is 0.0.0.0")],
        contradictory: &[(
            &[("SDP_IP", "2001:db8::1"), ("MEDIA_IP", "10.0.0.2")],
            "SDP_IP is 2001:db8::1 and contradicts MEDIA_IP, which is 10.0.0.2; accepted: two",
        )],
        ..ROW
    },
    Row {
        variable: "EXTERNAL_IP",
        accepted: IP,
        malformed: &["auto", "203.0.113.10/24"],
        out_of_range: &[("0.0.0.0", "is 0.0.0.0")],
        contradictory: &[(
            &[("EXTERNAL_IP", "2001:db8::1"), ("SIP_IP", "10.0.0.2")],
            "EXTERNAL_IP is 2001:db8::1 and contradicts SIP_IP, which is 10.0.0.2; accepted: two",
        )],
        ..ROW
    },
    Row {
        variable: "SIP_DNS_SERVER",
        accepted: "an IP address with or without a port",
        malformed: &[
            "dns.example",
            "10.0.0.53:0",
            "10.0.0.53:",
            "0.0.0.0",
            "[::]:53",
        ],
        ..ROW
    },
    Row {
        variable: "SIP_PORT_START",
        accepted: PORT,
        malformed: &["sip", "5060-5080"],
        out_of_range: &[("0", "is 0"), ("65536", "is 65536")],
        contradictory: &[(
            &[("SIP_PORT_START", "5090")],
            "SIP_PORT_START contradicts SIP_PORT_END: the first port, 5090, is above the last one, 5080",
        )],
        ..ROW
    },
    Row {
        variable: "SIP_PORT_END",
        accepted: PORT,
        malformed: &["sip"],
        out_of_range: &[("0", "is 0"), ("65536", "is 65536")],
        contradictory: &[
            (
                &[("SIP_PORT_END", "5059")],
                "SIP_PORT_END contradicts SIP_PORT_START: the first port, 5060, is above the last one, 5059",
            ),
            (
                &[("SIP_PORT_START", "6000"), ("SIP_PORT_END", "5999")],
                "SIP_PORT_END contradicts SIP_PORT_START: the first port, 6000, is above the last one, 5999",
            ),
        ],
        ..ROW
    },
    Row {
        variable: "RTP_PORT_MIN",
        accepted: PORT,
        malformed: &["rtp"],
        out_of_range: &[("0", "is 0"), ("65536", "is 65536")],
        contradictory: &[
            (
                &[("RTP_PORT_MIN", "65535")],
                "RTP_PORT_MIN and RTP_PORT_MAX (65535-65535) leave no room",
            ),
            (
                &[
                    ("SIP_PORT_START", "10000"),
                    ("SIP_PORT_END", "10010"),
                    ("RTP_PORT_MIN", "10010"),
                ],
                "RTP_PORT_MIN to RTP_PORT_MAX (10010-65535) overlaps SIP_PORT_START to SIP_PORT_END (10000-10010)",
            ),
        ],
        ..ROW
    },
    Row {
        variable: "RTP_PORT_MAX",
        accepted: PORT,
        malformed: &["rtp"],
        out_of_range: &[("0", "is 0"), ("65536", "is 65536")],
        contradictory: &[
            (
                &[("RTP_PORT_MAX", "9999")],
                "RTP_PORT_MAX contradicts RTP_PORT_MIN: the first port, 10000, is above the last one, 9999",
            ),
            (
                &[("RTP_PORT_MIN", "10001"), ("RTP_PORT_MAX", "10002")],
                "RTP_PORT_MAX and RTP_PORT_MIN (10001-10002) leave no room",
            ),
        ],
        ..ROW
    },
    Row {
        variable: "POD_NAMESPACE",
        accepted: NAME,
        malformed: &["a b", "a/b", "ü"],
        ..ROW
    },
    Row {
        variable: "POD_NAME",
        accepted: NAME,
        malformed: &["a\nb"],
        ..ROW
    },
    Row {
        variable: "POD_UID",
        accepted: NAME,
        malformed: &["{uid}"],
        ..ROW
    },
    Row {
        variable: "NODE_NAME",
        accepted: NAME,
        malformed: &["$(NODE)"],
        ..ROW
    },
    Row {
        variable: "WORKER_LABELS",
        accepted: "key=value pairs",
        malformed: &["a", "a=", "=b", "a=b,", "a=ü", "a=b;c=d", ",a=b"],
        contradictory: &[(
            &[("WORKER_LABELS", "a=b,a=c")],
            "WORKER_LABELS has a key twice",
        )],
        ..ROW
    },
    Row {
        variable: "DRAIN_TIMEOUT",
        accepted: "as 90s, 20m or 1h30m; at most 168h",
        malformed: &[
            "20",
            "m",
            "-5m",
            "1d",
            "1.5h",
            "5m ",
            "99999999999999999999s",
        ],
        out_of_range: &[("169h", "is 608400 s"), ("10081m", "is 604860 s")],
        ..ROW
    },
];

fn refused(extra: &[(&str, &str)]) -> ConfigError {
    match Config::from_vars(&vars(extra)).and_then(|config| {
        Addresses::resolve(config.addresses, ip("10.0.0.1"))?;
        Ok(())
    }) {
        Err(error) => error,
        Ok(()) => panic!("{extra:?} is accepted"),
    }
}

/// R2, R3, R7: what is refused names the variable and what is accepted, shows the value where it
/// was read as a number or an address, and never what could be a token.
#[test]
fn what_is_wrong_is_named_with_what_is_accepted() {
    for row in TABLE {
        for value in row.malformed {
            let error = refused(&[(row.variable, value)]);
            assert_eq!(error.variable, row.variable, "{value:?}: {error}");
            let text = error.to_string();
            assert!(text.contains(row.accepted), "{value:?}: {text}");
            // A short one is part of other words.
            let hidden = value.len() < 6 || !text.contains(value);
            assert!(hidden, "{} is shown: {text}", row.variable);
        }
        for (value, shown) in row.out_of_range {
            let error = refused(&[(row.variable, value)]);
            assert_eq!(error.variable, row.variable, "{value:?}: {error}");
            let text = error.to_string();
            assert!(
                text.contains(shown) && text.contains(row.accepted),
                "{value:?}: {text}"
            );
        }
        for (extra, wanted) in row.contradictory {
            let text = refused(extra).to_string();
            assert!(text.starts_with(wanted), "{extra:?}: {text}");
            assert!(text.contains("; accepted: "), "{extra:?}: {text}");
        }
    }
}

/// Too long, told by its size: WORKER_NAME and its bytes (the gateway takes 253), Kubernetes names,
/// labels.
#[test]
fn what_is_too_long_is_told_by_its_size() {
    let wide = "ü".repeat(127);
    let many: Vec<_> = (0..33).map(|n| format!("k{n}=v")).collect();
    let long = "x".repeat(300);
    let label = format!("k={long}");
    for (variable, value, wanted) in [
        ("WORKER_NAME", &long, "has 300 characters in 300 bytes"),
        ("WORKER_NAME", &wide, "has 127 characters in 254 bytes"),
        ("POD_NAMESPACE", &long, "has 300 bytes"),
        ("POD_NAME", &long, "has 300 bytes"),
        ("POD_UID", &long, "has 300 bytes"),
        ("NODE_NAME", &long, "has 300 bytes"),
        ("WORKER_LABELS", &many.join(","), "has 33 pairs"),
        ("WORKER_LABELS", &label, "other characters or length"),
    ] {
        let error = refused(&[(variable, value.as_str())]);
        assert_eq!(error.variable, variable);
        let text = error.to_string();
        assert!(
            text.contains(wanted) && text.contains("; accepted: "),
            "{text}"
        );
    }
}

/// R2, R3, R5: missing and empty are the same. A required variable is refused, of an optional one
/// the default holds.
#[test]
fn missing_and_empty_variables() {
    let all_default = format!("{:?}", read(&[]));
    for row in TABLE {
        let mut missing = vars(&[]);
        missing.remove(row.variable);
        let empty = vars(&[(row.variable, "")]);
        for given in [missing, empty] {
            match Config::from_vars(&given) {
                Ok(config) => {
                    assert!(!row.required, "{} is not required", row.variable);
                    assert_eq!(format!("{config:?}"), all_default);
                }
                Err(error) => {
                    assert!(row.required, "{error}");
                    assert_eq!(
                        (error.variable, error.problem.as_str()),
                        (row.variable, "is required and not set")
                    );
                    assert!(error.accepted.contains(row.accepted), "{error}");
                }
            }
        }
    }
    for variable in FREE {
        assert_eq!(format!("{:?}", read(&[(variable, "")])), all_default);
    }
}

/// R7: a token in any variable but its own is never shown, and no name.
#[test]
fn a_token_in_another_variable_is_not_shown() {
    for row in TABLE.iter().skip(1) {
        let config = Config::from_vars(&vars(&[(row.variable, &token())]));
        if let Err(error) = config {
            assert!(!error.to_string().contains("a1b2c3d4"), "{error}");
        }
    }
    let error = refused(&[("WORKER_NAME", &token())]);
    assert_eq!(error.problem, "is a token, which everyone would see");
}

/// R1: the table has every variable this crate reads. What names one outside tests is in a text.
#[test]
fn the_table_is_complete() {
    let sources = [
        include_str!("../../config.rs"),
        include_str!("../address.rs"),
        include_str!("../labels.rs"),
        include_str!("../value.rs"),
    ];
    let mut named: Vec<&str> = sources
        .iter()
        .flat_map(|text| text.split('"').skip(1).step_by(2))
        .filter(|text| {
            let mut letters = text.chars();
            text.len() > 5 && letters.all(|c| c.is_ascii_uppercase() || c == '_')
        })
        .collect();
    named.sort_unstable();
    named.dedup();
    let mut known: Vec<&str> = TABLE.iter().map(|row| row.variable).chain(FREE).collect();
    known.sort_unstable();
    assert_eq!(named, known);
}
