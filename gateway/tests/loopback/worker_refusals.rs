//! What the worker protocol refuses, and with which words.

use callmeter_gateway::link::InstanceId;
use callmeter_proto::worker::worker_gateway_client::WorkerGatewayClient;
use callmeter_proto::worker::{Hello, to_worker};
use callmeter_proto::{INVALID_TOKEN, WORKER_DISABLED};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::common::{DEADLINE, Gateway, hello};

const A: InstanceId = InstanceId([0xa; 16]);

/// R69
#[tokio::test]
async fn tokens_that_are_not_ours_are_refused_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (_, token) = gateway.worker("w1").await;
    let unknown = format!("cmw_{}", "0".repeat(64));
    let cloud = token.replace("cmw_", "cmc_");
    for bad in [
        "",
        "x",
        "cmw_",
        &unknown,
        &cloud,
        &token.to_uppercase(),
        &token[..67],
        &format!("{token}0"),
    ] {
        let refused = gateway.connect(bad, A).await.err().unwrap();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Unauthenticated, INVALID_TOKEN),
            "{bad}"
        );
    }
    // No header, and no message either: the answer does not wait for a Hello.
    let mut client = WorkerGatewayClient::new(gateway.channel(gateway.worker_addr).await.unwrap());
    let silent = client.connect(Request::new(tokio_stream::pending()));
    let refused = timeout(DEADLINE, silent)
        .await
        .expect("an answer")
        .err()
        .unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unauthenticated, INVALID_TOKEN)
    );
    gateway.stop().await;
}

/// R70, R72
#[tokio::test]
async fn a_disabled_worker_is_cut_off_and_refused_until_enabled() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (id, token) = gateway.worker("w1").await;
    let mut stream = gateway.connect(&token, A).await.unwrap();
    gateway
        .sessions
        .set_disabled("default", id, true)
        .await
        .unwrap();
    let Ok(Some(to_worker::Message::Close(close))) = stream.next_order().await else {
        panic!("no Close")
    };
    assert_eq!(close.reason, WORKER_DISABLED);
    let ended = stream.next_order().await.unwrap_err();
    assert_eq!(
        (ended.code(), ended.message()),
        (Code::PermissionDenied, WORKER_DISABLED)
    );
    let refused = gateway.connect(&token, A).await.err().unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::PermissionDenied, WORKER_DISABLED)
    );
    gateway
        .sessions
        .set_disabled("default", id, false)
        .await
        .unwrap();
    gateway.connect(&token, A).await.unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn a_bad_hello_is_answered_with_field_value_and_what_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (id, token) = gateway.worker("w1").await;
    let newer = Hello {
        protocol_version: 99,
        software_version: "9.9.0".into(),
        ..hello(A)
    };
    let version = env!("CARGO_PKG_VERSION");
    let cases = [
        (
            newer,
            Code::FailedPrecondition,
            format!(
                "protocol_version: worker 9.9.0 speaks 99; accepted by gateway {version}: 1 to 1"
            ),
        ),
        (
            Hello {
                instance_id: vec![1; 3],
                ..hello(A)
            },
            Code::InvalidArgument,
            "instance_id: 3 bytes; accepted: 16 bytes".to_owned(),
        ),
        (
            Hello {
                labels: [("k".to_owned(), "v".repeat(1000))].into(),
                ..hello(A)
            },
            Code::InvalidArgument,
            "labels: 1; accepted: at most 64, keys and values of at most 512 bytes".to_owned(),
        ),
    ];
    for (bad, code, message) in cases {
        let refused = gateway.connect_with(&token, bad).await.err().unwrap();
        assert_eq!(
            (refused.code(), refused.message()),
            (code, message.as_str())
        );
    }
    assert!(!gateway.sessions.worker(id).unwrap().connected);
    gateway.connect(&token, A).await.unwrap();
    gateway.stop().await;
}

/// R90
#[tokio::test]
async fn the_listener_speaks_tls_with_the_right_certificate_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let addr = gateway.worker_addr;
    let plain = Channel::from_shared(format!("http://{addr}"))
        .unwrap()
        .connect()
        .await;
    let refused = match plain {
        Err(_) => true,
        Ok(channel) => {
            let mut client = WorkerGatewayClient::new(channel);
            let silent = client.connect(Request::new(tokio_stream::pending()));
            timeout(DEADLINE, silent).await.expect("an end").is_err()
        }
    };
    assert!(refused, "no plain HTTP/2");
    let other = callmeter_gateway::ensure_tls::renewed(
        None,
        &["localhost".into()],
        std::time::SystemTime::now(),
    );
    let mut stranger = gateway;
    stranger.ca = other.unwrap().unwrap().ca_cert;
    assert!(
        stranger.channel(addr).await.is_err(),
        "another authority is not trusted"
    );
    stranger.ca = String::new();
    assert!(
        stranger.channel(addr).await.is_err(),
        "no authority is not trusted"
    );
    stranger.stop().await;
}
