use super::*;
use crate::link::WorkerId;
use crate::store::{Applied, SampleRow, insert_samples};
use callmeter_metrics::id;

fn row(endpoint: u32, second: u32) -> SampleRow {
    SampleRow {
        group: "a".into(),
        endpoint,
        second,
        call: 1,
        direction: callmeter_proto::worker::Direction::Recv.into(),
        per_call: false,
        generator_limited: false,
        delay_partial: true,
        values: vec![(id::MOS.0, 4.25), (u32::MAX, 1.0)],
    }
}

/// R104
#[tokio::test]
async fn stored_samples_are_read_back_in_order_and_in_parts() {
    let api = Api::new().await;
    let made = api.post("/runs", TEST).await.body;
    let run = made["data"]["id"].as_str().unwrap();
    let Applied::Next(mut tx) = api.store.apply(run, WorkerId::random(), 1).await.unwrap() else {
        panic!("the first message is next");
    };
    let rows = [row(0, 0), row(1, 0), row(0, 1)];
    insert_samples(&mut tx, run, WorkerId::random(), &rows)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let first = api
        .get(&format!("/runs/{run}/samples?group=a&limit=2"))
        .await
        .body["data"]
        .clone();
    assert_eq!(first["samples"].as_array().unwrap().len(), 2);
    assert_eq!(
        first["samples"][1],
        json!({"group": "a", "endpoint": 1, "second": 0, "call": 1, "direction": "recv",
            "perCall": false, "generatorLimited": false, "delayPartial": true,
            "values": {"mos": 4.25}})
    );
    let after = first["after"].as_i64().unwrap();
    let rest = api
        .get(&format!("/runs/{run}/samples?group=a&after={after}"))
        .await
        .body["data"]
        .clone();
    assert_eq!(rest["samples"].as_array().unwrap().len(), 1);
    assert_eq!(rest["samples"][0]["second"], 1);

    for (query, message) in [
        ("", "group: accepted: a group of the run: a"),
        ("?group=b", "group: accepted: a group of the run: a"),
        ("?group=a&limit=0", "limit: \"0\"; accepted: 1 to 5000"),
        (
            "?group=a&after=-1",
            "after: \"-1\"; accepted: 0 to 9223372036854775807",
        ),
        ("?group=a&from=1", "from: is no known parameter"),
    ] {
        let refused = api.get(&format!("/runs/{run}/samples{query}")).await;
        assert_eq!(refused.refusal(), (400, "VALIDATION_ERROR", message));
    }
    let nowhere = api.get("/runs/nowhere/samples?group=a").await;
    assert_eq!(nowhere.refusal().1, "NOT_FOUND");
}
