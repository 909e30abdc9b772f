use super::*;
use crate::definition::accounts;

fn with_accounts(answerers: &str, callers: &str) -> String {
    DEMO.replacen("{secretRef: {name: sip-accounts}, first: 1}", answerers, 1)
        .replacen("{secretRef: {name: sip-accounts}, first: 21}", callers, 1)
        .replace("endpoints: 20", "endpoints: 2")
}

#[test]
fn accounts_by_pattern_and_list_are_taken_out_of_the_definition() {
    let text = with_accounts(
        "{pattern: 'user{n}', first: 7, password: hunter2, realm: r}",
        "{list: [{user: a, password: x}, {user: b, password: hunter3, authUser: bb}, {user: c, password: z}], first: 2}",
    );
    let (test, inline, spec) = yaml(&text, "demo").unwrap();
    assert_eq!(test.groups[0].accounts, Accounts::Inline);
    let users = |g| {
        inline
            .of(g)
            .unwrap()
            .iter()
            .map(|c| c.user.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (users(0), users(1)),
        (vec!["user7", "user8"], vec!["b", "c"])
    );
    let second = &inline.of(1).unwrap()[0];
    assert_eq!(
        (second.password.expose(), second.auth_user.as_str()),
        ("hunter3", "bb")
    );
    assert_eq!(inline.of(0).unwrap()[1].realm, "r");
    let kept = serde_json::to_string(&spec).unwrap();
    let shown = format!("{kept} {test:?} {inline:?}");
    assert!(!shown.contains("hunter"), "{shown}");
    assert_eq!(
        InlineAccounts::from_sealed_form(&inline.to_sealed_form()),
        Some(inline)
    );
}

#[test]
fn bad_inline_accounts_are_refused_without_their_passwords() {
    for (accounts, expected) in [
        (
            "{pattern: 'user', password: hunter2}",
            "groups[0].accounts.pattern: \"user\"; accepted: ",
        ),
        (
            "{pattern: 'u{n}', password: hunter2, first: 0}",
            "groups[0].accounts.first: 0; accepted: 1 to 1000000",
        ),
        (
            "{pattern: 'u{n}', password: 2}",
            "groups[0].accounts.password: invalid type",
        ),
        (
            "{pattern: 'u{n}', password: {hunter2: 1}}",
            "groups[0].accounts.password: invalid type",
        ),
        (
            "{pattern: 'u{n}', passwort: hunter2}",
            "groups[0].accounts: missing field `password`",
        ),
        (
            "{pattern: 'u{n}', password: hunter2, extra: hunter2}",
            "groups[0].accounts.extra: is no known field",
        ),
        (
            "{list: [{user: a, password: hunter2}]}",
            "groups[0].accounts.list: holds 1 accounts; rows 1 to 2 are needed",
        ),
        (
            "{list: [{user: 'a b', password: hunter2}, {user: a, password: x}]}",
            "groups[0].accounts.list: row 1: the user is empty or holds",
        ),
        (
            "{password: hunter2}",
            "groups[0].accounts.password: is accepted with accounts.pattern only",
        ),
    ] {
        let text = with_accounts(accounts, "{pattern: 'c{n}', password: hunter2}");
        let refusal = yaml(&text, "demo").unwrap_err().to_string();
        assert!(
            refusal.contains(expected) && !refusal.contains("hunter"),
            "{accounts}: {refusal}"
        );
    }
}

#[test]
fn a_yaml_error_near_a_password_does_not_show_it() {
    for (password, told) in [
        (r#""hunter2" "hunter2""#, "is no YAML: "),
        (r#"!!float 'a"hunter2"b'"#, "at line 1 column 32"),
        ("!!int hunter2", "at line 1 column 32"),
        ("!!bool 'a`hunter2'", "at line 1 column 32"),
        (
            "22345678901234567890",
            "a number has more than 64 bits; a text of digits stands in quotes",
        ),
        ("-12345678901234567890", "a number has more than 64 bits"),
        (
            "123456789012345678901234567890123456789",
            "a number has more than 64 bits",
        ),
        ("0x1234567890abcdef01234", "a number has more than 64 bits"),
    ] {
        let text = format!("groups: [{{accounts: {{password: {password}}}}}]");
        let refusal = yaml(&text, "").unwrap_err().to_string();
        assert!(refusal.contains(told), "{refusal}");
        for part in ["hunter", "45678"] {
            assert!(!refusal.contains(part), "{refusal}");
        }
    }
    // Beyond 128 bits and in JSON it is a number like others, but no text.
    let digits = "123456789012345678901234567890123456789012345";
    let text = with_accounts(
        &format!("{{pattern: 'u{{n}}', password: {digits}}}"),
        "null",
    );
    let refusal = yaml(&text, "").unwrap_err().to_string();
    assert_eq!(refusal, "groups[0].accounts.password: invalid type");
}

#[test]
fn accounts_csv_is_read_and_its_errors_name_the_row() {
    let text = b"alice,secret\r\n\nbob,\"se,cret\",bob-auth,pbx.example\ncarol,,,\n";
    let accounts = read_csv(text).unwrap();
    let users: Vec<&str> = accounts.iter().map(|c| c.user.as_str()).collect();
    assert_eq!(users, ["alice", "bob", "carol"]);
    assert_eq!(accounts[0].password.expose(), "secret");
    assert_eq!(accounts[1].password.expose(), "se,cret");
    assert_eq!(
        (accounts[1].auth_user.as_str(), accounts[1].realm.as_str()),
        ("bob-auth", "pbx.example")
    );
    for (text, expected) in [
        (
            &b"alice,secret\nbob\n"[..],
            "row 2: has not two to four fields; accepted: user,password",
        ),
        (b"a,b,c,d,e\n", "row 1: has not two to four fields"),
        (b"alice,x\n,secret\n", "row 2: the user is empty"),
        (
            b"al ice,secret\n",
            "row 1: the user is empty or holds a character",
        ),
        (b"\xff,secret\n", "row 1: is not UTF-8 text"),
        (
            b"alice,secret,a\x07b\n",
            "row 1: authUser or realm holds a control character",
        ),
    ] {
        let refusal = read_csv(text).unwrap_err().to_string();
        assert!(
            refusal.starts_with(expected) && !refusal.contains("secret"),
            "{refusal}"
        );
    }
    let few = accounts::of_group(&accounts, 3, 2).unwrap_err().to_string();
    assert_eq!(few, "holds 3 accounts; rows 3 to 4 are needed");
}

#[test]
fn one_account_for_two_endpoints_of_a_registrar_is_refused_by_name() {
    let text = with_accounts(
        "{pattern: 'user{n}', password: x}",
        "{pattern: 'user{n}', first: 2, password: x}",
    );
    let message = "groups answerers and callers would both use the account \"user2\" at \
                   kamailio.demo.svc; accepted: an account of its own for each endpoint";
    let refusal = yaml(&text, "demo").unwrap_err().to_string();
    assert_eq!(refusal, format!("groups: {message}"));
    let elsewhere = text.replacen("domain: kamailio.demo.svc", "domain: pbx.example", 1);
    let (test, inline, _) = yaml(&elsewhere, "demo").unwrap();
    // Rows of a Secret are read later and meet the same rule.
    let accounts: Vec<Vec<Credentials>> = (0..2).map(|g| inline.of(g).unwrap().to_vec()).collect();
    assert_eq!(overlaps(&test, &accounts), Ok(()));
    let mut same = test;
    for group in &mut same.groups {
        group.registrar.as_mut().unwrap().domain = "kamailio.demo.svc".into();
    }
    assert_eq!(overlaps(&same, &accounts).unwrap_err().to_string(), message);
}

/// Users are those of a domain in any case, at the ports that transports have by themselves; who has
/// no domain shares them with nobody. Rows of a Secret and accounts in the definition are judged alike.
#[test]
fn a_registrar_is_the_same_however_it_is_written() {
    let refusal = |answerers: &str, callers: &str, accounts: &str| {
        let registrar = "{domain: kamailio.demo.svc}";
        let text = with_accounts(accounts, accounts)
            .replacen(registrar, answerers, 1)
            .replacen(registrar, callers, 1);
        assert!(!text.contains(registrar));
        yaml(&text, "demo").err().map(|e| e.to_string())
    };
    for (one, other, same) in [
        ("{domain: pbx}", "{domain: PBX, port: 5060}", true),
        (
            "{domain: pbx, transport: tcp}",
            "{domain: pbx, transport: tls, port: 5061}",
            true,
        ),
        (
            "{domain: pbx, transport: auto}",
            "{domain: pbx, transport: wss, port: 443}",
            true,
        ),
        (
            "{domain: '[2001:DB8::1]', port: 5070}",
            "{domain: '[2001:db8::1]', port: 5070, transport: tcp}",
            true,
        ),
        ("{domain: pbx}", "{domain: pbx, port: 5061}", false),
        (
            "{domain: pbx, transport: tls}",
            "{domain: pbx, port: 5070, transport: tls}",
            false,
        ),
        ("{domain: pbx}", "{domain: pbx.example}", false),
        (
            "{register: false, transport: udp}",
            "{register: false, transport: udp}",
            false,
        ),
        ("{register: false, transport: udp}", "{domain: pbx}", false),
        ("null", "null", false),
    ] {
        let listed = refusal(one, other, "{pattern: 'user{n}', password: x}");
        let shared =
            "groups: groups answerers and callers would both use the account \"user1\" at ";
        assert_eq!(listed.is_some(), same, "{one} {other}: {listed:?}");
        assert!(listed.is_none_or(|told| told.starts_with(shared)));
        let rows = refusal(one, other, "{secretRef: {name: sip}, first: 7}");
        let shared = "groups[1].accounts.first: rows 7 to 8 of Secret sip overlap with rows 7 to 8 of group answerers";
        assert_eq!(rows, same.then(|| shared.to_owned()), "{one} {other}");
    }
}

#[test]
fn accounts_of_no_endpoints_from_no_row_are_refused_not_counted() {
    let accounts = "{secretRef: {name: sip}, first: 0}";
    let text = with_accounts(accounts, accounts).replace("endpoints: 2", "endpoints: 0");
    let refusal = yaml(&text, "demo").unwrap_err().to_string();
    for wrong in [
        "groups[1].endpoints: 0; accepted: ",
        "groups[1].accounts.first: 0; accepted: ",
    ] {
        assert!(refusal.contains(wrong), "{refusal}");
    }
}
