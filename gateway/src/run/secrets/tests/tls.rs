//! Certificates and keys of Secrets.

use std::collections::BTreeMap;

use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

const TEST: &str = "
duration: 5s
groups:
  - name: a
    endpoints: 1
    role: callee
    registrar:
      register: false
      transport: tls
      tls: {verify: custom, caRef: {name: ca, key: pbx.pem}, clientCertRef: {name: pair}, serverCertRef: {name: pair}}
  - name: b
    endpoints: 1
    role: caller
    target: {group: a}
    registrar: {register: false, transport: tls, tls: {verify: custom, caRef: {name: ca, key: pbx.pem}}}
  - {name: c, endpoints: 1, role: callee}
";

/// 1 July 2030.
const NOW: u64 = 1_909_094_400;

/// Secrets by name, each with its keys.
type Secrets = BTreeMap<&'static str, BTreeMap<&'static str, String>>;

/// A certificate of these years, until 20 July, and its key.
fn made(from: i32, to: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec!["pbx.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 7, 20);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// All that [`TEST`] needs.
fn good() -> Secrets {
    let (ca, _) = made(2029, 2040);
    let (certificate, key) = made(2029, 2040);
    [
        ("ca", [("pbx.pem", ca)].into()),
        ("pair", [("tls.crt", certificate), ("tls.key", key)].into()),
    ]
    .into()
}

/// Reads what [`TEST`] needs from an API server that holds these; says how often it was asked.
async fn read(secrets: Secrets) -> (Result<RunSecrets, String>, usize) {
    let (test, inline, _) = parse(TEST, Format::Yaml, "demo").unwrap();
    let (service, mut server): (_, Handle<Request<Body>, Response<Body>>) =
        tower_test::mock::pair();
    let answers = tokio::spawn(async move {
        let mut asked = 0;
        while let Some((request, respond)) = server.next_request().await {
            asked += 1;
            let path = request.uri().path();
            let name = path
                .strip_prefix("/api/v1/namespaces/demo/secrets/")
                .unwrap_or_else(|| panic!("{path}"));
            let (status, body) = match secrets.get(name) {
                None => (404, failure(404, "NotFound")),
                Some(keys) => {
                    let data: serde_json::Map<String, serde_json::Value> = keys
                        .iter()
                        .map(|(key, text)| ((*key).to_owned(), json!(STANDARD.encode(text))))
                        .collect();
                    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data});
                    (200, secret)
                }
            };
            let bytes = serde_json::to_vec(&body).unwrap();
            let answer = Response::builder().status(status).body(Body::from(bytes));
            respond.send_response(answer.unwrap());
        }
        asked
    });
    let reader = SecretReader::new(Some(Client::new(service, "gateway")));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let secrets = reader.read(&test, &inline, now).await;
    drop(reader);
    (secrets, answers.await.unwrap())
}

#[tokio::test]
async fn each_secret_is_read_once_and_each_group_has_its_own() {
    let given = good();
    let (read, asked) = read(given.clone()).await;
    let RunSecrets { groups, warnings } = read.unwrap();
    assert_eq!((asked, warnings), (2, Vec::<String>::new()));
    let [a, b, c] = groups.as_slice() else {
        panic!("{groups:?}")
    };
    let a = a.tls.as_ref().unwrap();
    assert_eq!(a.ca_pem, given["ca"]["pbx.pem"]);
    assert_eq!(a.server.certificates_pem, given["pair"]["tls.crt"]);
    assert_eq!(a.server.key_pem.expose(), given["pair"]["tls.key"]);
    assert_eq!(a.client, a.server);
    let b = b.tls.as_ref().unwrap();
    assert_eq!((&b.ca_pem, &b.client), (&a.ca_pem, &Pair::default()));
    assert_eq!(c.tls, None);
    assert!(!format!("{groups:?}").contains("PRIVATE KEY"));
}

#[tokio::test]
async fn what_is_wrong_is_told_by_name_and_never_the_material() {
    let (past, _) = made(2019, 2029);
    let (future, _) = made(2031, 2040);
    let (other, other_key) = made(2029, 2040);
    let cut = other_key.replace("-----END", "----END");
    let encrypted = other_key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let chain = format!("{other}{past}");
    let junk = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let certificate = "Secret demo/pair, key tls.crt";
    let key = "Secret demo/pair, key tls.key";
    let ca = "Secret demo/ca, key pbx.pem";
    let no_key = format!("{key} is no private key as PEM; accepted: RSA, ECDSA or Ed25519");
    let mismatch = format!("{key} is not the key of {certificate}");
    let some = |text: &str| Some(text.to_owned());
    for (secret, field, value, expected) in [
        (
            "pair",
            "tls.crt",
            None,
            "Secret demo/pair has no key tls.crt".to_owned(),
        ),
        (
            "pair",
            "tls.key",
            None,
            "Secret demo/pair has no key tls.key".to_owned(),
        ),
        ("pair", "tls.key", some(&other_key), mismatch.clone()),
        ("pair", "tls.crt", some(&other), mismatch),
        ("pair", "tls.key", Some(cut), no_key.clone()),
        ("pair", "tls.key", Some(encrypted), no_key.clone()),
        ("pair", "tls.key", some(""), no_key),
        (
            "pair",
            "tls.crt",
            some(&other_key),
            format!("{certificate} is no certificate as PEM"),
        ),
        (
            "pair",
            "tls.crt",
            some(&past),
            format!("{certificate} ended at 2029-07-20T00:00:00.000Z"),
        ),
        (
            "pair",
            "tls.crt",
            Some(future),
            format!("{certificate} is not valid before 2031-01-01T00:00:00.000Z"),
        ),
        (
            "pair",
            "tls.crt",
            Some(chain),
            format!("certificate 2 of {certificate} ended at 2029-07-20"),
        ),
        (
            "ca",
            "pbx.pem",
            None,
            "Secret demo/ca has no key pbx.pem".to_owned(),
        ),
        (
            "ca",
            "pbx.pem",
            Some(past),
            format!("{ca} ended at 2029-07-20T00:00:00.000Z"),
        ),
        (
            "ca",
            "pbx.pem",
            some("hello"),
            format!("{ca} is no certificate as PEM"),
        ),
        (
            "ca",
            "pbx.pem",
            some(junk),
            format!("{ca} is no X.509 certificate"),
        ),
        (
            "ca",
            "pbx.pem",
            Some("x".repeat(300_000)),
            format!("{ca} has 300000 bytes; accepted: at most 262144"),
        ),
    ] {
        let mut secrets = good();
        let keys = secrets.get_mut(secret).unwrap();
        match value {
            Some(value) => keys.insert(field, value),
            None => keys.remove(field),
        };
        let refusal = read(secrets).await.0.unwrap_err();
        assert!(
            refusal.starts_with(&format!("tls of group a: {expected}")),
            "{refusal}"
        );
        assert!(
            !refusal.contains("BEGIN") && refusal.len() < 200,
            "{refusal}"
        );
    }
    let mut secrets = good();
    secrets.remove("pair");
    let refusal = read(secrets).await.0.unwrap_err();
    assert_eq!(refusal, "tls of group a: Secret demo/pair does not exist");
}

/// 19 days before its end a certificate is warned of, once for all its uses in a group.
#[tokio::test]
async fn a_certificate_that_ends_soon_is_warned_of() {
    let (certificate, key) = made(2029, 2030);
    let mut secrets = good();
    secrets.insert("pair", [("tls.crt", certificate), ("tls.key", key)].into());
    let warnings = read(secrets).await.0.unwrap().warnings;
    let warning = "tls of group a: Secret demo/pair, key tls.crt ends at 2030-07-20T00:00:00.000Z";
    assert_eq!(warnings, [warning]);
}
