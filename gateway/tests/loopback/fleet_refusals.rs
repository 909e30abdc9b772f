//! What the fleet API refuses, and with which words.

use callmeter_gateway::link::InstanceId;
use callmeter_gateway::store::Role;
use callmeter_proto::fleet::{
    CreateWorkerRequest, DeleteWorkerRequest, FenceRequest, UpsertPoolRequest,
};
use tonic::Code;

use crate::common::Gateway;
use crate::fleet_api::create;

const A: InstanceId = InstanceId([0xa; 16]);

#[tokio::test]
async fn only_an_admin_key_gets_in() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let mut fleet = gateway.fleet(Role::Admin).await;
    let id = fleet
        .client
        .create_worker(fleet.request(create("k")))
        .await
        .unwrap()
        .into_inner()
        .id;
    let request = DeleteWorkerRequest { id: id.clone() };
    for (key, code) in [
        ("", Code::Unauthenticated),
        (
            "cmk_00000000000000000000000000000000",
            Code::Unauthenticated,
        ),
        ("eyJhbGciOiJSUzI1NiJ9.e30.AAAA", Code::Unauthenticated),
    ] {
        fleet.key = key.to_owned();
        let refused = fleet
            .client
            .delete_worker(fleet.request(request.clone()))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), code, "{key}: {refused}");
        assert!(key.is_empty() || !refused.message().contains(key));
    }
    for role in [Role::Viewer, Role::Tester, Role::Editor] {
        let mut fleet = gateway.fleet(role).await;
        let refused = fleet
            .client
            .delete_worker(fleet.request(request.clone()))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(
            refused
                .message()
                .contains(&format!("role {role}; accepted: admin or owner")),
            "{refused}"
        );
    }
    let mut owner = gateway.fleet(Role::Owner).await;
    owner
        .client
        .delete_worker(owner.request(request))
        .await
        .unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn bad_requests_name_field_value_and_what_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let mut fleet = gateway.fleet(Role::Admin).await;
    let cases = [
        (
            CreateWorkerRequest {
                key: String::new(),
                ..create("k")
            },
            "key: \"\"; accepted: the caller's own key",
        ),
        (
            CreateWorkerRequest {
                name: " ".into(),
                ..create("k")
            },
            "name: \" \"; accepted: 1 to 253 printable",
        ),
        (
            CreateWorkerRequest {
                capacity: 0,
                ..create("k")
            },
            "capacity: \"0\"; accepted: 1 to 1000000 endpoints",
        ),
        (
            CreateWorkerRequest {
                project: "nope".into(),
                ..create("k")
            },
            "project: \"nope\"; accepted: default",
        ),
        (
            CreateWorkerRequest {
                labels: [(String::new(), "v".to_owned())].into(),
                ..create("k")
            },
            "labels: \"=v\"; accepted: keys of 1 to 512",
        ),
    ];
    for (request, message) in cases {
        let refused = fleet
            .client
            .create_worker(fleet.request(request))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(message), "{refused}");
    }
    for key in ["", "fra", "/fra", "demo/", "a/b/c"] {
        let pool = UpsertPoolRequest {
            key: key.into(),
            endpoints_per_worker: 1,
            ..UpsertPoolRequest::default()
        };
        let refused = fleet
            .client
            .upsert_pool(fleet.request(pool))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{key}");
        assert!(
            refused.message().contains("accepted: namespace/name"),
            "{refused}"
        );
    }
    let refused = fleet
        .client
        .delete_worker(fleet.request(DeleteWorkerRequest { id: "x".into() }))
        .await
        .unwrap_err();
    assert!(
        refused.message().starts_with("id: \"x\"; accepted:"),
        "{refused}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_fence_needs_a_process_that_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let mut fleet = gateway.fleet(Role::Admin).await;
    let made = fleet
        .client
        .create_worker(fleet.request(create("k")))
        .await
        .unwrap()
        .into_inner();
    let fence = FenceRequest {
        id: made.id,
        instance: A.0.to_vec(),
        ..FenceRequest::default()
    };
    let refused = fleet.client.fence(fleet.request(fence)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused
            .message()
            .ends_with("accepted: none, it has never connected"),
        "{refused}"
    );
    gateway.stop().await;
}
