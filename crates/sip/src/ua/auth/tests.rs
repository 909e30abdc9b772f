use bytes::Bytes;

use super::*;
use crate::flow::{Listener, LocalId, Transport};
use crate::message::Host;
use crate::password::Password;
use crate::ua::EndpointConfig;

const NEXT_HOP: &str = "192.0.2.9:5060";

fn endpoint(realm: Option<&str>) -> Endpoint {
    let listener = Listener {
        id: LocalId(1),
        transport: Transport::Udp,
        advertised_host: Host::Ip("203.0.113.10".parse().unwrap()),
        advertised_port: 5060,
        accepts: true,
        large_by_tcp: false,
        keep_alive: None,
    };
    let config = EndpointConfig {
        next_hop: Some(NEXT_HOP.parse().unwrap()),
        credentials: Some(Credentials {
            username: "alice".to_owned(),
            password: Password::new("secret"),
            realm: realm.map(str::to_owned),
        }),
        ..EndpointConfig::new(listener.id, "sip:alice@example.org".parse().unwrap())
    };
    Endpoint::new(config, &listener)
}

fn answered(
    endpoint: &mut Endpoint,
    method: Method,
    realm: &str,
    destination: &str,
    retries: &mut Retries,
) -> bool {
    let stale = if retries.any() { ", stale=true" } else { "" };
    let text = format!(
        "SIP/2.0 401 No\r\nWWW-Authenticate: Digest realm=\"{realm}\", nonce=\"n\"{stale}\r\n\r\n"
    );
    let response = Message::parse(Bytes::from(text)).unwrap();
    let destination = destination.parse().unwrap();
    let challenged = Challenged {
        response: &response,
        method,
        destination,
    };
    let verdict = endpoint.challenged(&mut Core::new(1), &challenged, b"sip:x", retries);
    verdict == Verdict::Again
}

#[test]
fn only_the_realm_of_the_account_at_the_next_hop_is_answered() {
    let mut endpoint = endpoint(Some("r"));
    let mut ask = |realm, destination| {
        answered(
            &mut endpoint,
            Method::Invite,
            realm,
            destination,
            &mut Retries::default(),
        )
    };
    assert!(ask("r", NEXT_HOP));
    assert!(!ask("R", NEXT_HOP));
    assert!(!ask("r", "192.0.2.9:5061"));
    assert!(!ask("r", "192.0.2.8:5060"));
}

/// Every server of the next hop is one that was configured, whichever the endpoint is with.
#[test]
fn the_other_servers_of_the_next_hop_are_answered() {
    const BACKUP: &str = "192.0.2.10:5060";
    let mut endpoint = endpoint(Some("r"));
    endpoint.config.backups = vec![BACKUP.parse().unwrap()];
    let mut ask = |realm, destination| {
        let method = Method::Invite;
        let again = &mut Retries::default();
        answered(&mut endpoint, method, realm, destination, again)
    };
    assert!(ask("r", BACKUP));
    assert!(!ask("R", BACKUP));
    assert!(!ask("r", "192.0.2.11:5060"));
    let mut shown = |destination: &str| {
        let to = destination.parse().unwrap();
        let shown = endpoint.authorization(Method::Invite, to, b"sip:x", b"");
        shown.fields().count()
    };
    assert_eq!([shown(NEXT_HOP), shown(BACKUP)], [1, 1]);
    assert_eq!(shown("192.0.2.11:5060"), 0);
}

#[test]
fn a_learnt_realm_binds_and_register_teaches_last() {
    let mut endpoint = endpoint(None);
    let mut ask = |method, realm| {
        answered(
            &mut endpoint,
            method,
            realm,
            NEXT_HOP,
            &mut Retries::default(),
        )
    };
    assert!(ask(Method::Invite, "first"));
    assert!(!ask(Method::Invite, "second"));
    assert!(ask(Method::Register, "home"));
    assert!(!ask(Method::Register, "first"));
    assert!(!ask(Method::Invite, "first"));
    assert!(ask(Method::Invite, "home"));
}

#[test]
fn one_retry_and_one_for_stale() {
    let mut endpoint = endpoint(Some("r"));
    let mut retries = Retries::default();
    let mut ask = || answered(&mut endpoint, Method::Register, "r", NEXT_HOP, &mut retries);
    assert_eq!([ask(), ask(), ask()], [true, true, false]);
}

#[test]
fn without_next_hop_or_credentials_nothing_is_answered() {
    let mut one = endpoint(Some("r"));
    one.config.next_hop = None;
    assert!(!answered(
        &mut one,
        Method::Invite,
        "r",
        NEXT_HOP,
        &mut Retries::default()
    ));
    let mut two = endpoint(Some("r"));
    two.config.credentials = None;
    assert!(!answered(
        &mut two,
        Method::Invite,
        "r",
        NEXT_HOP,
        &mut Retries::default()
    ));
}
