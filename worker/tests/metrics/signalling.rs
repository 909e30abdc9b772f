//! SIP counters and call times against a far end that is slow on purpose, answers in every class
//! and keeps count. R103: signalling and timing.

use std::time::{Duration, Instant};

use callmeter_proto::worker::{Account, Direction, Registrar, Role};

use crate::far_end::{Counts, FarEnd, Talker};
use crate::machine::{LOAD, go_first};
use crate::proof::{Claim, Figure, View, prove};
use crate::support::{
    calm::calm,
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, begin, finish},
};

pub(crate) const KEYS: &[&str] = &[
    "reg_attempts",
    "reg_success",
    "reg_expires_s",
    "registration_time_ms",
    "registration_auth_time_ms",
    "auth_challenges",
    "invite_sent",
    "caps",
    "sip_1xx",
    "sip_2xx",
    "sip_3xx",
    "sip_4xx",
    "sip_5xx",
    "sip_6xx",
    "sip_messages_sent",
    "sip_messages_received",
    "sip_retransmissions",
    "sip_retransmissions_recv",
    "final_status_code",
    "call_result",
    "time_to_trying_ms",
    "time_to_ringing_ms",
    "post_dial_delay_ms",
    "ring_duration_ms",
    "call_setup_time_ms",
    "time_to_first_media_ms",
    "early_media_ms",
    "call_duration_ms",
    "disconnect_delay_ms",
    "failed_srd_ms",
    "cancel_delay_ms",
];

const CALL: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(60);

/// When things happened, by the far end's clock.
#[derive(Debug)]
struct Truth {
    counts: Counts,
    registered: Duration,
    authenticated: Duration,
    trying: Duration,
    ringing: Duration,
    answered: Duration,
    media: Duration,
    bye_answered: Duration,
    early: Duration,
    short_call: Duration,
    refused: Duration,
    cancelled: Duration,
}

/// Waits, and says how long it was since `from`.
async fn after(from: Instant, wait: u64) -> Duration {
    tokio::time::sleep(Duration::from_millis(wait)).await;
    from.elapsed()
}

/// The registrar and the other end of seven calls, each ending in another way.
async fn busy(mut far: FarEnd) -> Truth {
    let first = far.next("REGISTER").await;
    let challenge = "WWW-Authenticate: Digest realm=\"far.test\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"\r\n";
    after(first.at, 80).await;
    far.answer(&first, "401 Unauthorized", challenge, "").await;
    let second = far.next("REGISTER").await;
    let authenticated = after(second.at, 150).await;
    let registered = first.at.elapsed();
    let bound = format!("Contact: <{}>;expires=120\r\n", second.contact());
    far.answer(&second, "200 OK", &bound, "").await;

    // 1: the first INVITE gets lost; answered late, and once more; the far end talks later still.
    let lost = far.next("INVITE").await;
    let invite = far.next("INVITE").await;
    let trying = lost.at.elapsed();
    far.answer(&invite, "100 Trying", "", "").await;
    let ringing = after(lost.at, 150).await;
    far.answer(&invite, "180 Ringing", "", "").await;
    let answered = after(lost.at, 200).await;
    far.accept(&invite, 8, "").await;
    let up = Instant::now();
    far.next("ACK").await;
    let (contact, body) = far.description(8, "");
    far.answer_again(&invite, "200 OK", &contact, &body).await;
    far.next("ACK").await;
    let media = after(up, 300).await;
    let mut talker = Talker::new(&far.rtp, invite.media(), 8, 20);
    talker.talk(10).await;
    let bye = far.next("BYE").await;
    let bye_answered = after(bye.at, 250).await;
    far.answer(&bye, "200 OK", "", "").await;

    // 2: media before the answer; the far end hangs up early.
    let invite = far.next("INVITE").await;
    let (contact, body) = far.description(8, "");
    far.answer(&invite, "183 Session Progress", &contact, &body)
        .await;
    let mut talker = Talker::new(&far.rtp, invite.media(), 8, 20);
    let early = Instant::now();
    talker.talk(20).await;
    let early = early.elapsed();
    far.accept(&invite, 8, "").await;
    let up = Instant::now();
    far.next("ACK").await;
    let short_call = after(up, 400).await;
    far.hang_up(&invite).await;
    far.response().await;

    // 3 to 6: refused in every class, the first one slowly.
    let invite = far.next("INVITE").await;
    let refused = after(invite.at, 120).await;
    far.answer(&invite, "486 Busy Here", "", "").await;
    for status in [
        "302 Moved Temporarily",
        "503 Service Unavailable",
        "603 Decline",
    ] {
        far.next("ACK").await;
        let invite = far.next("INVITE").await;
        far.answer(&invite, status, "", "").await;
    }
    far.next("ACK").await;

    // 7: rings until the run is over.
    let invite = far.next("INVITE").await;
    far.answer(&invite, "180 Ringing", "", "").await;
    let cancel = far.next("CANCEL").await;
    far.answer(&cancel, "200 OK", "", "").await;
    let cancelled = after(cancel.at, 130).await;
    far.answer(&invite, "487 Request Terminated", "", "").await;
    far.next("ACK").await;
    let last = far.next("REGISTER").await;
    far.answer(&last, "200 OK", "", "").await;
    Truth {
        counts: far.counts,
        registered,
        authenticated,
        trying,
        ringing,
        answered,
        media,
        bye_answered,
        early,
        short_call,
        refused,
        cancelled,
    }
}

/// One call, answered and let go at once, without a registrar.
pub(crate) async fn quick(mut far: FarEnd) {
    let invite = far.next("INVITE").await;
    far.accept(&invite, 8, "").await;
    far.next("ACK").await;
    let mut talker = Talker::new(&far.rtp, invite.media(), 8, 20);
    talker.talk(10).await;
    let bye = far.next("BYE").await;
    far.answer(&bye, "200 OK", "", "").await;
}

/// Every SIP counter and every time of a call has the value the far end knows.
#[test]
pub(crate) fn signalling_and_times_are_what_the_far_end_did() {
    let _load = LOAD.blocking_read();
    calm(signalling_and_times);
}

async fn signalling_and_times() {
    go_first();
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let (slow, plain) = (FarEnd::new().await, FarEnd::new().await);
    let group = |name, far: &FarEnd| Group {
        peers: vec![format!("sip:far@{}", far.address())],
        call_ms: CALL.as_millis() as u32,
        run_ms: 12_000,
        ..Group::new(name, Role::Caller, 1)
    };
    let groups = [
        Group {
            repeat: true,
            peers: vec!["sip:far@far.test".into()],
            registrar: Some(Registrar {
                domain: "far.test".into(),
                outbound_proxy: slow.address(),
                transport: "udp".into(),
                register: true,
                expires_s: 300,
                ..Registrar::default()
            }),
            accounts: vec![Account {
                user: "a".into(),
                password: "planted-sip-password".into(),
                ..Account::default()
            }],
            ..group("driven", &slow)
        },
        group("control", &plain),
    ];
    let slow = tokio::spawn(busy(slow));
    let plain = tokio::spawn(quick(plain));
    let mut told = begin(&mut peer, "run-1", &groups).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    let truth = slow.await.unwrap();
    plain.await.unwrap();

    let none = Direction::None;
    let (send, recv) = (Direction::Send, Direction::Recv);
    let counts = truth.counts;
    let mut claims = vec![
        // Two registrations: the one under a challenge, and the one that ends the binding.
        Claim::exactly("reg_attempts", none, Figure::Sum, 2),
        Claim::exactly("reg_success", none, Figure::Sum, 2),
        Claim::exactly("auth_challenges", none, Figure::Sum, 1),
        Claim::exactly("invite_sent", none, Figure::Sum, 7),
        Claim::exactly("caps", none, Figure::Sum, 7),
        Claim::exactly("sip_messages_sent", send, Figure::Sum, counts.received),
        Claim::exactly("sip_messages_received", recv, Figure::Sum, counts.sent),
        // The first INVITE; and its ACK, for the second 200.
        Claim::exactly("sip_retransmissions", send, Figure::Sum, 2),
        Claim::exactly("sip_retransmissions_recv", recv, Figure::Sum, 1),
        Claim::exactly("reg_expires_s", none, Figure::Call(0), 120),
        Claim::exactly("final_status_code", none, Figure::Call(3), 486),
        // rejected: 603
        Claim::exactly("call_result", none, Figure::Call(6), 2),
    ];
    for (class, key) in [
        "sip_1xx", "sip_2xx", "sip_3xx", "sip_4xx", "sip_5xx", "sip_6xx",
    ]
    .into_iter()
    .enumerate()
    {
        let sent = counts.responses[class];
        claims.push(Claim::exactly(key, recv, Figure::Sum, sent));
    }
    for (key, call, known) in [
        ("registration_time_ms", 0, truth.registered),
        ("registration_auth_time_ms", 0, truth.authenticated),
        ("time_to_trying_ms", 1, truth.trying),
        ("time_to_ringing_ms", 1, truth.ringing),
        ("post_dial_delay_ms", 1, truth.ringing),
        (
            "ring_duration_ms",
            1,
            truth.answered.saturating_sub(truth.ringing),
        ),
        ("call_setup_time_ms", 1, truth.answered),
        ("time_to_first_media_ms", 1, truth.media),
        ("disconnect_delay_ms", 1, truth.bye_answered),
        ("early_media_ms", 2, truth.early),
        ("call_duration_ms", 2, truth.short_call),
        ("failed_srd_ms", 3, truth.refused),
        ("cancel_delay_ms", 7, truth.cancelled),
    ] {
        claims.push(Claim::lasts(key, none, Figure::Call(call), known));
    }
    let view = |group| View { told: &told, group };
    prove(&[(view("driven"), claims)], view("control"), KEYS);
    let answered = view("control").values("call_duration_ms", none, Some(1));
    let planned = CALL.as_secs_f64() * 1000.0;
    assert!(
        answered.len() == 1 && answered[0] >= planned - 10.0,
        "{answered:?}"
    );
}
