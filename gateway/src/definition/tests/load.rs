//! Load over time: what is taken, what is refused, and what the endpoints cannot serve.

use serde_json::{Value, json};

use super::*;

fn read(load: &Value, call: &Value, endpoints: u32) -> Result<ValidatedTest, String> {
    let group = json!({"name": "g", "endpoints": endpoints, "role": "caller", "target": {"uri": "sip:1@pbx"},
        "load": load, "call": call});
    let test = json!({"duration": "60s", "groups": [group]}).to_string();
    match parse(&test, Format::Json, "") {
        Ok((test, ..)) => Ok(test),
        Err(refusal) => Err(refusal.to_string()),
    }
}

#[test]
fn ramps_and_steps_are_read_in_calls_per_second() {
    let seconds = Duration::from_secs;
    let talk = json!({"duration": "5s"});
    for (load, expected) in [
        (
            json!({"ramp": [{"at": "0s", "rate": "0/s"}, {"at": "1m", "rate": "30/m"}]}),
            Load::Arrivals {
                points: vec![(seconds(0), 0.0), (seconds(60), 0.5)],
                ramp: true,
            },
        ),
        (
            json!({"steps": [{"at": "0s", "rate": "2/s"}, {"at": "30s", "rate": "0/s"}]}),
            Load::Arrivals {
                points: vec![(seconds(0), 2.0), (seconds(30), 0.0)],
                ramp: false,
            },
        ),
        (
            json!({"steps": [{"at": "0s", "concurrency": 0}, {"at": "30s", "concurrency": 20}]}),
            Load::ConcurrencySteps(vec![(seconds(0), 0), (seconds(30), 20)]),
        ),
    ] {
        let test = read(&load, &talk, 20).unwrap();
        assert_eq!(test.groups[0].load, expected);
        assert!(start_offsets(&test.groups[0]).is_empty());
        assert!(read(&load, &json!({"repeat": true}), 20).is_ok());
    }
}

#[test]
fn every_problem_names_field_value_and_what_is_accepted() {
    let ramp = |points: Value| json!({ "ramp": points });
    let steps = |points: Value| json!({ "steps": points });
    let many: Vec<Value> = (0..33)
        .map(|n| json!({"at": format!("{n}s"), "rate": "1/s"}))
        .collect();
    for (load, expected) in [
        (
            json!({}),
            "load: accepted: exactly one of arrivalRate, concurrency, ramp, steps",
        ),
        (
            json!({"concurrency": 1, "steps": [{"at": "0s", "rate": "1/s"}]}),
            "load: accepted: exactly one of",
        ),
        (
            json!({"arrivalRate": "0.0/s"}),
            "load.arrivalRate: 0.0/s; accepted: a rate above 0, like 5/s",
        ),
        (
            ramp(json!([])),
            "load.ramp: is empty; accepted: 1 to 32 entries",
        ),
        (
            ramp(json!(many)),
            "load.ramp: 33 entries; accepted: at most 32",
        ),
        (
            ramp(json!([{"at": "1s", "rate": "1/s"}])),
            "load.ramp[0].at: 1s; accepted: 0s, where the load begins",
        ),
        (
            ramp(json!([{"at": "0s", "rate": "1/s"}, {"at": "0s", "rate": "2/s"}])),
            "load.ramp[1].at: 0s; accepted: later than 0s",
        ),
        (
            ramp(
                json!([{"at": "0s", "rate": "1/s"}, {"at": "9s", "rate": "2/s"}, {"at": "8s", "rate": "2/s"}]),
            ),
            "load.ramp[2].at: 8s; accepted: later than 9s",
        ),
        (
            ramp(json!([{"at": "0s", "rate": "1/s"}, {"at": "25h", "rate": "2/s"}])),
            "load.ramp[1].at: 25h; accepted: 0s to 24h",
        ),
        (
            ramp(json!([{"at": "0s", "rate": "0/s"}])),
            "load.ramp: has no rate above 0; accepted: at least one",
        ),
        (
            ramp(json!([{"at": "0s"}])),
            "load.ramp[0]: missing field `rate`",
        ),
        (
            ramp(json!([{"rate": "1/s"}])),
            "load.ramp[0]: missing field `at`",
        ),
        (
            ramp(json!([{"at": "0s", "rate": "-1/s"}])),
            "load.ramp[0].rate: `-1/s` is no rate; accepted: a number and /s, /m or /h",
        ),
        (
            ramp(json!([{"at": "0s", "rate": "1/s", "concurrency": 1}])),
            "load.ramp[0].concurrency: is no known field",
        ),
        (
            steps(json!([])),
            "load.steps: is empty; accepted: 1 to 32 entries",
        ),
        (
            steps(json!([{"at": "1s", "rate": "1/s"}])),
            "load.steps[0].at: 1s; accepted: 0s",
        ),
        (
            steps(json!([{"at": "0s"}])),
            "load.steps[0]: accepted: exactly one of rate, concurrency",
        ),
        (
            steps(json!([{"at": "0s", "rate": "1/s", "concurrency": 1}])),
            "load.steps[0]: accepted: exactly one of rate, concurrency",
        ),
        (
            steps(json!([{"at": "0s", "rate": "1/s"}, {"at": "1s", "concurrency": 1}])),
            "load.steps: accepted: rate in all steps, or concurrency in all",
        ),
        (
            steps(json!([{"at": "0s", "concurrency": 21}])),
            "load.steps[0].concurrency: 21; accepted: 0 to 20, the endpoints of the group",
        ),
        (
            steps(json!([{"at": "0s", "concurrency": 0}])),
            "load.steps: has no rate or concurrency above 0; accepted: at least one",
        ),
    ] {
        let refusal = read(&load, &json!({}), 20).unwrap_err();
        let expected = format!("groups[0].{expected}");
        assert!(refusal.starts_with(&expected), "{load:.200}: {refusal}");
    }
    for load in [
        ramp(json!([{"at": "0s", "rate": "1/s"}])),
        steps(json!([{"at": "0s", "concurrency": 1}])),
    ] {
        let refusal = read(&load, &json!({"repeat": false}), 20).unwrap_err();
        let expected = "groups[0].call.repeat: false; accepted with load.ramp and load.steps: true or nothing, the load says when calls are placed";
        assert_eq!(refusal, expected);
    }
}

/// A call of 9.5 s and 0.5 s until its endpoint is free again: each call per second takes ten.
#[test]
fn a_load_that_the_endpoints_cannot_serve_is_warned_of() {
    let call = json!({"duration": "9s", "ringFor": "500ms"});
    let repeated = json!({"duration": "9s", "ringFor": "500ms", "repeat": true});
    let peak = json!({"ramp": [{"at": "0s", "rate": "1/s"}, {"at": "10s", "rate": "2/s"}, {"at": "20s", "rate": "1/s"}]});
    let told = |load: &Value, call: &Value, endpoints| {
        warnings(&read(load, call, endpoints).unwrap()).concat()
    };
    assert_eq!(
        told(&peak, &call, 19),
        "group g: 2 new calls per second of 10.0 s each take 20 endpoints, it has 19; calls that find none free are not placed"
    );
    assert_eq!(told(&peak, &call, 20), "");
    let rate = json!({"arrivalRate": "2/s"});
    assert!(told(&rate, &repeated, 19).starts_with("group g: 2 new calls per second"));
    assert_eq!(told(&rate, &repeated, 20), "");
    // Each endpoint calls once.
    assert_eq!(told(&rate, &call, 19), "");
    assert_eq!(told(&json!({"concurrency": 19}), &repeated, 19), "");
    // Until the run ends: no endpoint is ever free again.
    assert_eq!(told(&peak, &json!({}), 120), "");
    assert!(told(&peak, &json!({}), 119).contains("take 120 endpoints"));
}

/// Each call at a time takes a callee, who is in one call.
#[test]
fn more_calls_at_a_time_than_callees_are_warned_of() {
    let told = |load: Value| {
        let callers = json!({"name": "g", "endpoints": 8, "role": "caller", "target": {"group": "a"}, "load": load});
        let callees = json!({"name": "a", "endpoints": 3, "role": "callee"});
        let test = json!({"duration": "60s", "groups": [callees, callers]}).to_string();
        let (test, ..) = parse(&test, Format::Json, "").unwrap();
        warnings(&test).concat()
    };
    assert_eq!(
        told(json!({"concurrency": 8})),
        "group g: load.concurrency 8: up to 3 calls at a time, for it calls the group a, which has 3 endpoints; calls beyond wait"
    );
    assert_eq!(told(json!({"concurrency": 3})), "");
    let steps = |most| json!({"steps": [{"at": "0s", "concurrency": 1}, {"at": "9s", "concurrency": most}, {"at": "20s", "concurrency": 2}]});
    assert_eq!(
        told(steps(4)),
        "group g: load.steps[].concurrency 4: up to 3 calls at a time, for it calls the group a, which has 3 endpoints; calls beyond find their callee busy"
    );
    assert_eq!(told(steps(3)), "");
}

/// Each call takes two endpoints of a group that calls itself.
#[test]
fn more_calls_at_a_time_than_half_of_a_group_that_calls_itself_are_warned_of() {
    let told = |endpoints: u32, load: Value| {
        let group = json!({"name": "g", "endpoints": endpoints, "role": "both", "target": {"group": "g"}, "load": load});
        let test = json!({"duration": "60s", "groups": [group]}).to_string();
        let (test, ..) = parse(&test, Format::Json, "").unwrap();
        warnings(&test).concat()
    };
    assert_eq!(
        told(50, json!({"concurrency": 26})),
        "group g: load.concurrency 26: up to 25 calls at a time, for it calls itself, a group of 50 endpoints of which each call takes two; calls beyond wait"
    );
    assert_eq!(told(50, json!({"concurrency": 25})), "");
    assert!(told(51, json!({"concurrency": 26})).contains("up to 25 calls at a time"));
    let steps = |most| json!({"steps": [{"at": "0s", "concurrency": 1}, {"at": "9s", "concurrency": most}]});
    assert_eq!(
        told(50, steps(2)),
        "group g: load.steps[].concurrency 2: up to 1 call at a time, for it calls itself, a group of 50 endpoints of which each call takes two; calls beyond find their callee busy"
    );
    assert_eq!(told(50, steps(1)), "");
}
