//! Every field of a definition × (missing, wrong type, empty, unknown beside it): what is refused
//! names the field, what is taken is in a list.

use serde_json::{Value, json};

use super::*;

/// Every field there is, in both forms of accounts that a person may send.
pub(super) fn full() -> Value {
    json!({
        "duration": "40s",
        "queueTimeout": "1m",
        "groups": [
            {
                "name": "answerers",
                "endpoints": 2,
                "placement": {"pool": "demo/fra"},
                "role": "callee",
                "target": {"external": true},
                "registrar": {"domain": "pbx.example", "port": 5060, "transport": "udp", "keepAlive": "30s", "optionsInterval": "30s", "sipOverUdp": "auto",
                    "outboundProxy": "proxy:5060", "register": true},
                "accounts": {"list": [
                    {"user": "a", "password": "hunter2", "authUser": "aa", "realm": "r"},
                    {"user": "b", "password": "hunter2", "authUser": "bb", "realm": "r"}], "first": 1},
                "audio": {"codec": "pcma", "ptime": "20ms", "dscp": 46},
                "load": {"concurrency": 2},
                "call": {"duration": "12s", "ringFor": "1s", "repeat": false},
                "answer": {"code": 486},
                "sessionTimer": {"mode": "required", "expires": "90s", "refresher": "uas"},
                "reliable": "supported",
                "headers": [{"name": "X-Test", "value": "a"}],
                "dtmf": "info",
                "authInDialog": true,
                "acceptTransfers": true,
                "scenario": [
                    {"when": {"at": "5s"}, "do": "sendDtmf", "digits": "12#"},
                    {"when": {"event": "dtmf", "digits": "1"}, "do": "transfer", "to": "sip:9@pbx.example", "attended": true}],
            },
            {
                "name": "callers",
                "endpoints": 2,
                "role": "caller",
                "target": {"uri": "sip:100@pbx.example"},
                "registrar": {"domain": "pbx.example", "transport": "wss", "wsPath": "/ws", "connection": "perEndpoint",
                    "tls": {"verify": "custom", "caRef": {"name": "pbx-ca", "key": "ca.pem"},
                        "clientCertRef": {"name": "fleet"}, "serverCertRef": {"name": "fleet"}}},
                "accounts": {"pattern": "u{n}", "password": "hunter2", "realm": "r", "first": 1},
                "load": {"arrivalRate": "5/s"},
            },
            {
                "name": "others",
                "endpoints": 2,
                "role": "both",
                "target": {"group": "answerers"},
                "load": {"ramp": [{"at": "0s", "rate": "1/s"}, {"at": "5s", "rate": "20/s"}]},
                "registrar": {"domain": "pbx.example"},
                "accounts": {"secretRef": {"name": "sip-accounts"}, "first": 1},
            },
            {
                "name": "waves",
                "endpoints": 2,
                "role": "caller",
                "target": {"group": "answerers"},
                "load": {"steps": [{"at": "0s", "rate": "1/s"}, {"at": "5s", "rate": "20/s"}]},
            },
            {
                "name": "stairs",
                "endpoints": 2,
                "role": "caller",
                "target": {"group": "answerers"},
                "load": {"steps": [{"at": "0s", "concurrency": 1}, {"at": "5s", "concurrency": 2}]},
            },
        ],
        "expect": [{"metric": "mos", "stat": "p05", "group": "callers", "min": 3.5, "max": 4.5}],
    })
}

/// Where a value is, as errors name it.
#[derive(Clone)]
struct Place {
    pointer: String,
    path: String,
}

fn places(value: &Value, at: &Place, found: &mut Vec<Place>) {
    let inner: Vec<(String, String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (format!("/{name}"), format!(".{name}"), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, value)| (format!("/{n}"), format!("[{n}]"), value))
            .collect(),
        _ => return,
    };
    for (pointer, path, value) in inner {
        let place = Place {
            pointer: at.pointer.clone() + &pointer,
            path: (at.path.clone() + &path).trim_start_matches('.').to_owned(),
        };
        found.push(place.clone());
        places(value, &place, found);
    }
}

fn all_places() -> Vec<Place> {
    let root = Place {
        pointer: String::new(),
        path: String::new(),
    };
    let mut found = Vec::new();
    places(&full(), &root, &mut found);
    found
}

/// Reads a definition; what is refused, by field.
pub(super) fn read(definition: &Value) -> Result<(), Vec<(String, String)>> {
    let read = parse(&definition.to_string(), Format::Json, "demo");
    read.map(drop).map_err(|refusal| {
        assert!(!refusal.to_string().contains("hunter"), "{refusal}");
        let problems = refusal.problems().iter();
        problems
            .map(|p| (p.field.clone(), p.message.clone()))
            .collect()
    })
}

/// Whether a refusal of `field` is about the place: it, what is in it, or what it is in; or it says
/// on which neighbour the field depends. Accounts are told by their list, row by row.
fn is_about(field: &str, message: &str, place: &str) -> bool {
    let row = place
        .split_once(".list[")
        .and_then(|(list, rest)| Some((list, rest.split_once(']')?.0.parse::<usize>().ok()?)));
    let told_by_row = row.is_some_and(|(list, row)| {
        field == format!("{list}.list") && message.starts_with(&format!("row {}: ", row + 1))
    });
    let parent = place
        .rsplit_once(['.', '['])
        .map_or("", |(parent, _)| parent);
    let name = place.rsplit('.').next().unwrap_or_default();
    let neighbour = field.starts_with(parent) && message.contains(&format!("with {name} "));
    field.starts_with(place) || field == parent || told_by_row || neighbour
}

#[test]
fn the_full_definition_is_taken() {
    assert_eq!(read(&full()), Ok(()));
    assert_eq!(all_places().len(), 152);
}

/// What is taken: nothing in place of an optional field, its own type, and texts that are free.
const TAKEN: &[&str] = &[
    "expect: []",
    "expect[0].group: null",
    "expect[0].max: null",
    "expect[0].min: null",
    "expect[0].stat: null",
    "groups[0].acceptTransfers: null true",
    "groups[0].accounts.first: null",
    r#"groups[0].accounts.list[0].authUser: """#,
    r#"groups[0].accounts.list[0].password: "" "\u0007 ;""#,
    r#"groups[0].accounts.list[0].realm: """#,
    r#"groups[0].accounts.list[1].authUser: """#,
    r#"groups[0].accounts.list[1].password: "" "\u0007 ;""#,
    r#"groups[0].accounts.list[1].realm: """#,
    "groups[0].answer: null",
    "groups[0].audio: null {}",
    "groups[0].audio.codec: null",
    "groups[0].audio.dscp: null",
    "groups[0].audio.ptime: null",
    "groups[0].authInDialog: null true",
    "groups[0].call: null {}",
    "groups[0].call.duration: null",
    "groups[0].call.repeat: null true",
    "groups[0].call.ringFor: null",
    "groups[0].dtmf: null",
    "groups[0].headers: null []",
    r#"groups[0].headers[0].value: """#,
    "groups[0].load: null",
    "groups[0].placement: null {}",
    "groups[0].placement.pool: null",
    "groups[0].registrar: null",
    "groups[0].registrar.keepAlive: null",
    "groups[0].registrar.optionsInterval: null",
    r#"groups[0].registrar.outboundProxy: null """#,
    "groups[0].registrar.port: null",
    "groups[0].registrar.register: null true",
    "groups[0].registrar.sipOverUdp: null",
    "groups[0].registrar.transport: null",
    "groups[0].reliable: null",
    "groups[0].scenario: null []",
    "groups[0].scenario[1].attended: null true",
    "groups[0].scenario[1].when.digits: null",
    "groups[0].sessionTimer: null {}",
    "groups[0].sessionTimer.expires: null",
    "groups[0].sessionTimer.mode: null",
    "groups[0].sessionTimer.refresher: null",
    "groups[0].target: null",
    "groups[0].target.external: true",
    "groups[1].accounts.first: null",
    r#"groups[1].accounts.password: "" "\u0007 ;""#,
    r#"groups[1].accounts.realm: """#,
    "groups[1].load: null",
    "groups[1].registrar: null",
    "groups[1].registrar.connection: null",
    "groups[1].registrar.tls: null {}",
    "groups[1].registrar.tls.caRef.key: null",
    "groups[1].registrar.tls.clientCertRef: null",
    "groups[1].registrar.tls.serverCertRef: null",
    "groups[1].registrar.wsPath: null",
    "groups[2].accounts.first: null",
    "groups[2].load: null",
    "groups[2].registrar: null",
    "groups[3].load: null",
    "groups[4].load: null",
];

/// Each value of each field replaced by one of every other type.
#[test]
fn wrong_types_name_the_field() {
    let wrong = [
        json!(null),
        json!(true),
        json!(-7),
        json!(2.5e9),
        json!(u64::MAX),
        json!(""),
        json!("\u{7} ;"),
        json!([]),
        json!(["x"]),
        json!({}),
        json!({"x": "x"}),
    ];
    let mut taken: Vec<(String, Vec<String>)> = Vec::new();
    for place in all_places() {
        for value in &wrong {
            let mut changed = full();
            *changed.pointer_mut(&place.pointer).unwrap() = value.clone();
            match read(&changed) {
                Ok(()) => match taken.last_mut().filter(|(path, _)| *path == place.path) {
                    Some((_, values)) => values.push(value.to_string()),
                    None => taken.push((place.path.clone(), vec![value.to_string()])),
                },
                Err(problems) => {
                    let named = problems.iter().any(|(f, m)| is_about(f, m, &place.path));
                    assert!(named, "{} = {value}: {problems:?}", place.path);
                }
            }
        }
    }
    let taken: Vec<String> = taken
        .iter()
        .map(|(path, values)| format!("{path}: {}", values.join(" ")))
        .collect();
    assert_eq!(taken, TAKEN);
}

/// Fields without which there is no definition; all others have a default or an alternative.
const REQUIRED: &[&str] = &[
    "duration",
    "expect[0].metric",
    "groups",
    "groups[0].accounts",
    "groups[0].accounts.list",
    "groups[0].accounts.list[0].password",
    "groups[0].accounts.list[0].user",
    "groups[0].accounts.list[1].password",
    "groups[0].accounts.list[1].user",
    "groups[0].answer.code",
    "groups[0].endpoints",
    "groups[0].headers[0].name",
    "groups[0].headers[0].value",
    "groups[0].load.concurrency",
    "groups[0].name",
    "groups[0].registrar.domain",
    "groups[0].role",
    "groups[0].scenario[0].digits",
    "groups[0].scenario[0].do",
    "groups[0].scenario[0].when",
    "groups[0].scenario[0].when.at",
    "groups[0].scenario[1].do",
    "groups[0].scenario[1].to",
    "groups[0].scenario[1].when",
    "groups[0].scenario[1].when.event",
    "groups[0].target.external",
    "groups[1].accounts",
    "groups[1].accounts.password",
    "groups[1].accounts.pattern",
    "groups[1].endpoints",
    "groups[1].load.arrivalRate",
    "groups[1].name",
    "groups[1].registrar.domain",
    "groups[1].registrar.tls.caRef",
    "groups[1].registrar.tls.caRef.name",
    "groups[1].registrar.tls.clientCertRef.name",
    "groups[1].registrar.tls.serverCertRef.name",
    "groups[1].registrar.tls.verify",
    "groups[1].registrar.transport",
    "groups[1].role",
    "groups[1].target",
    "groups[1].target.uri",
    "groups[2].accounts",
    "groups[2].accounts.secretRef",
    "groups[2].accounts.secretRef.name",
    "groups[2].endpoints",
    "groups[2].load.ramp",
    "groups[2].load.ramp[0].at",
    "groups[2].load.ramp[0].rate",
    "groups[2].load.ramp[1].at",
    "groups[2].load.ramp[1].rate",
    "groups[2].name",
    "groups[2].registrar.domain",
    "groups[2].role",
    "groups[2].target",
    "groups[2].target.group",
    "groups[3].endpoints",
    "groups[3].load.steps",
    "groups[3].load.steps[0].at",
    "groups[3].load.steps[0].rate",
    "groups[3].load.steps[1].at",
    "groups[3].load.steps[1].rate",
    "groups[3].name",
    "groups[3].role",
    "groups[3].target",
    "groups[3].target.group",
    "groups[4].endpoints",
    "groups[4].load.steps",
    "groups[4].load.steps[0].at",
    "groups[4].load.steps[0].concurrency",
    "groups[4].load.steps[1].at",
    "groups[4].load.steps[1].concurrency",
    "groups[4].name",
    "groups[4].role",
    "groups[4].target",
    "groups[4].target.group",
];

/// Each field left out.
#[test]
fn what_is_missing_is_named() {
    let mut required = Vec::new();
    for place in all_places() {
        if place.path.ends_with(']') {
            continue;
        }
        let (parent, name) = place.pointer.rsplit_once('/').unwrap();
        let mut changed = full();
        changed
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(name);
        if let Err(problems) = read(&changed) {
            let parent = place.path.rsplit_once('.').map_or("", |(parent, _)| parent);
            let missing = format!("missing field `{name}`");
            let named = problems.iter().any(|(field, message)| {
                (field == parent && message.contains(&missing))
                    || message.contains(&format!(".{name} "))
                    || is_about(field, message, &place.path)
            });
            assert!(named, "without {}: {problems:?}", place.path);
            required.push(place.path);
        }
    }
    assert_eq!(required, REQUIRED);
}

/// An unknown field in each map is named, with the right ones beside it.
#[test]
fn unknown_fields_are_named_wherever_they_are() {
    let maps = all_places()
        .into_iter()
        .filter(|place| full().pointer(&place.pointer).unwrap().is_object());
    let root = Place {
        pointer: String::new(),
        path: String::new(),
    };
    for place in maps.chain([root]) {
        let mut changed = full();
        let map = changed.pointer_mut(&place.pointer).unwrap();
        map["colour"] = json!("hunter2");
        let field = format!("{}.colour", place.path);
        let field = field.trim_start_matches('.');
        let problems = read(&changed).unwrap_err();
        let told = ("is no known field".to_owned(), field.to_owned());
        assert!(
            problems.iter().any(|(f, m)| (m, f) == (&told.0, &told.1)),
            "{field}: {problems:?}"
        );
    }
}
