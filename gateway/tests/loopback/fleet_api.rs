//! The fleet API over real TLS on loopback.

use crate::common::{DEADLINE, Fleet, Gateway};
use callmeter_gateway::link::{InstanceId, Load, WorkerStatus as Status};
use callmeter_gateway::store::Role;
use callmeter_proto::WorkerToken;
use callmeter_proto::fleet::{
    CreateWorkerRequest, DeleteWorkerRequest, FenceRequest, RefusalReason, RegenerateTokenRequest,
    SetDisabledRequest, UnfenceRequest, UpdateWorkerRequest, WatchWorkersRequest,
    WatchWorkersResponse, WorkerRow, WorkerStatus,
};
use tokio::time::timeout;
use tonic::{Code, Streaming};

const A: InstanceId = InstanceId([0xa; 16]);
const B: InstanceId = InstanceId([0xb; 16]);

pub(crate) fn create(key: &str) -> CreateWorkerRequest {
    CreateWorkerRequest {
        key: key.into(),
        name: format!("worker-{key}"),
        capacity: 50,
        labels: [("callmeter.io/pool".to_owned(), "demo/fra".to_owned())].into(),
        ..CreateWorkerRequest::default()
    }
}

/// Follows a watch until a row is as wanted.
async fn until(
    rows: &mut Streaming<WatchWorkersResponse>,
    what: &str,
    wanted: impl Fn(&WorkerRow) -> bool,
) -> WorkerRow {
    let found = async {
        loop {
            let next = rows.message().await.unwrap().expect("the watch goes on");
            assert!(!next.snapshot, "only the first message is a snapshot");
            if let Some(row) = next.workers.into_iter().find(&wanted) {
                return row;
            }
        }
    };
    timeout(DEADLINE, found)
        .await
        .unwrap_or_else(|_| panic!("no row: {what}"))
}

async fn watch(
    fleet: &mut Fleet,
    selector: &[(&str, &str)],
) -> (Vec<WorkerRow>, Streaming<WatchWorkersResponse>) {
    let selector = selector
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let request = fleet.request(WatchWorkersRequest { selector });
    let mut rows = fleet
        .client
        .watch_workers(request)
        .await
        .unwrap()
        .into_inner();
    let first = timeout(DEADLINE, rows.message())
        .await
        .expect("a snapshot")
        .unwrap()
        .unwrap();
    assert!(first.snapshot);
    (first.workers, rows)
}

/// R59, R60, R62
#[tokio::test]
async fn a_key_makes_one_worker_and_shows_its_token_once() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let mut fleet = gateway.fleet(Role::Admin).await;
    let first = fleet
        .client
        .create_worker(fleet.request(create("k")))
        .await
        .unwrap()
        .into_inner();
    let token = WorkerToken::parse(&first.token).unwrap();
    let second = fleet
        .client
        .create_worker(fleet.request(create("k")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (second.id.as_str(), second.token.as_str()),
        (first.id.as_str(), "")
    );
    let other = fleet
        .client
        .create_worker(fleet.request(create("l")))
        .await
        .unwrap()
        .into_inner();
    assert_ne!(other.id, first.id);
    gateway.connect(token.expose(), A).await.unwrap();
    let regenerate = fleet.request(RegenerateTokenRequest { id: first.id });
    let new = fleet
        .client
        .regenerate_token(regenerate)
        .await
        .unwrap()
        .into_inner()
        .token;
    assert_ne!(new, first.token);
    assert_eq!(
        gateway
            .connect(token.expose(), B)
            .await
            .err()
            .unwrap()
            .code(),
        Code::Unauthenticated
    );
    gateway.connect(&new, B).await.unwrap();
    gateway.stop().await;
}

/// R122, R123, R124, R126
#[tokio::test]
async fn the_watch_tells_everything_first_and_then_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let mut fleet = gateway.fleet(Role::Admin).await;
    let made = fleet
        .client
        .create_worker(fleet.request(create("k")))
        .await
        .unwrap()
        .into_inner();
    gateway.worker("a person's").await;
    let (all, _) = watch(&mut fleet, &[]).await;
    assert_eq!(all.len(), 2);
    let (rows, mut changes) = watch(&mut fleet, &[("callmeter.io/pool", "demo/fra")]).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].key.as_str(), rows[0].status()),
        ("k", WorkerStatus::Offline)
    );

    let stream = gateway.connect(&made.token, A).await.unwrap();
    stream.beat(true).await;
    let row = until(&mut changes, "ONLINE", |row| {
        row.status() == WorkerStatus::Online
    })
    .await;
    assert_eq!(
        (row.connected, row.effective_capacity, row.fence_seq),
        (true, 50, 0)
    );
    assert_eq!(
        (row.instance.as_slice(), row.pod_uid.as_str()),
        (&A.0[..], format!("uid-{A}").as_str())
    );

    gateway.connect(&made.token, B).await.err().unwrap();
    let row = until(&mut changes, "refusal", |row| row.last_refusal.is_some()).await;
    let refusal = row.last_refusal.unwrap();
    assert_eq!(refusal.reason(), RefusalReason::DuplicateConnection);
    assert_eq!(refusal.pod_uid, format!("uid-{B}"));

    let id = made.id.parse().unwrap();
    gateway.run_side.loads.lock().unwrap().insert(
        id,
        Load {
            active: 3,
            reserved: 4,
        },
    );
    let fence = |instance: InstanceId| FenceRequest {
        id: made.id.clone(),
        instance: instance.0.to_vec(),
        reason: "scale down".into(),
        ends_in_ms: None,
    };
    let refused = fleet
        .client
        .fence(fleet.request(fence(B)))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains(&A.to_string()) && refused.message().contains(&B.to_string()),
        "{refused}"
    );
    let answer = fleet
        .client
        .fence(fleet.request(fence(A)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            answer.fence_seq,
            answer.active_endpoints,
            answer.reserved_endpoints
        ),
        (1, 3, 4)
    );
    let seen = gateway.run_side.seen();
    let fenced = seen
        .iter()
        .position(|seen| seen == "changed Draining fenced=true")
        .expect("the run layer knows");
    assert_eq!(
        seen[fenced + 1],
        "read load",
        "and is asked after that: {seen:?}"
    );
    let row = until(&mut changes, "fenced", |row| row.fence_seq == 1).await;
    assert_eq!(
        (row.status(), row.active_endpoints, row.reserved_endpoints),
        (WorkerStatus::Draining, 3, 4)
    );

    let unfence = UnfenceRequest {
        id: made.id.clone(),
        instance: A.0.to_vec(),
    };
    fleet.client.unfence(fleet.request(unfence)).await.unwrap();
    until(&mut changes, "ONLINE again", |row| {
        row.status() == WorkerStatus::Online && row.fence_seq == 0
    })
    .await;

    let disable = SetDisabledRequest {
        id: made.id.clone(),
        disabled: true,
    };
    fleet
        .client
        .set_disabled(fleet.request(disable))
        .await
        .unwrap();
    until(&mut changes, "disabled", |row| {
        row.disabled && row.status() == WorkerStatus::Offline
    })
    .await;

    fleet
        .client
        .delete_worker(fleet.request(DeleteWorkerRequest {
            id: made.id.clone(),
        }))
        .await
        .unwrap();
    let removed = async {
        loop {
            let next = changes.message().await.unwrap().unwrap();
            if next.removed == [made.id.clone()] {
                break;
            }
        }
    };
    timeout(DEADLINE, removed)
        .await
        .expect("the row is told as removed");
    fleet
        .client
        .delete_worker(fleet.request(DeleteWorkerRequest { id: made.id }))
        .await
        .expect("again is no error");
    gateway.stop().await;
}

#[tokio::test]
async fn nothing_of_one_organisation_is_visible_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(dir.path()).await;
    let (id, token) = gateway.worker("ours").await;
    let _stream = gateway.connect(&token, A).await.unwrap();
    let database = format!("sqlite:{}", dir.path().join("callmeter.db").display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    sqlx::query("INSERT INTO organisations (slug, name, worker_licence) VALUES ('other', 'Other', 'standard')")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let mut other = gateway.fleet_of("other", Role::Owner).await;
    let (rows, _) = watch(&mut other, &[]).await;
    assert_eq!(rows, []);
    let id = id.to_string();
    let instance = A.0.to_vec();
    let update = UpdateWorkerRequest {
        id: id.clone(),
        capacity: 1,
        ..UpdateWorkerRequest::default()
    };
    let fence = FenceRequest {
        id: id.clone(),
        instance: instance.clone(),
        ..FenceRequest::default()
    };
    let answers = [
        other
            .client
            .update_worker(other.request(update))
            .await
            .err(),
        other
            .client
            .regenerate_token(other.request(RegenerateTokenRequest { id: id.clone() }))
            .await
            .err(),
        other
            .client
            .set_disabled(other.request(SetDisabledRequest {
                id: id.clone(),
                disabled: true,
            }))
            .await
            .err(),
        other.client.fence(other.request(fence)).await.err(),
        other
            .client
            .unfence(other.request(UnfenceRequest {
                id: id.clone(),
                instance,
            }))
            .await
            .err(),
    ];
    for answer in answers {
        assert_eq!(answer.unwrap().code(), Code::NotFound);
    }
    // Deleting what is not there is no error, and deletes nothing.
    other
        .client
        .delete_worker(other.request(DeleteWorkerRequest { id: id.clone() }))
        .await
        .unwrap();
    let info = gateway
        .sessions
        .worker(id.parse().unwrap())
        .expect("still there");
    assert!(info.connected && !info.disabled && info.status == Status::Offline);
    gateway.stop().await;
}
