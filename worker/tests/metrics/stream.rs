//! RTP and RTCP figures against a far end that loses, repeats, delays and renumbers a known number
//! of packets. R103: RTP transport.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use callmeter_proto::worker::{Direction, Role};
use tokio::net::UdpSocket;

use crate::far_end::{Counter, FarEnd, Request, Talker};
use crate::machine::{LOAD, go_first};
use crate::proof::{Claim, Figure, View, prove};
use crate::support::{
    calm::calm,
    gateway::TestGateway,
    ports,
    process::{Worker, environment},
    run::{Group, begin, finish},
    soon,
};

pub(crate) const KEYS: &[&str] = &[
    "packets_sent",
    "packets_received",
    "bytes_sent",
    "bytes_received",
    "packets_sent_rate_ps",
    "packets_recv_rate_ps",
    "bytes_sent_rate_bps",
    "duplicate_packets",
    "out_of_order_packets",
    "sequence_number_gaps",
    "sequence_number_jumps",
    "sequence_number_resets",
    "timestamp_jumps",
    "ssrc_switches",
    "payload_type_changes",
    "unexpected_source_packets",
    "max_packet_spacing",
    "burst_density",
    "burst_duration",
    "jb_late_packets",
    "jb_duplicates",
    "remote_fraction_lost",
    "remote_jitter_ms",
    "remote_packets_lost",
    "rtcp_sent",
    "rtcp_received",
    "rtcp_sr_rr_interval_ms",
    "rtt_ms",
    "dscp_received",
    "ttl_received",
    "audio_codec",
    "audio_packetization_ms",
    "jitter_ms",
    "min_packet_spacing",
    "pdv_p95_ms",
];

const PATIENCE: Duration = Duration::from_secs(60);
/// Packets of a calm second at 40 ms each.
const CALM: u32 = 25;
/// What the far end adds to the round trip.
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// The far end's first source.
const SSRC: u32 = 0x0102_0304;

/// What the far end of the driven call did.
struct Truth {
    packets: u32,
    octets: u32,
    heard: Counter,
    reports: Counter,
    between_reports: Duration,
}

/// Answers, disturbs its own stream in every way there is, and reports made-up figures.
async fn faulty(mut far: FarEnd) -> Truth {
    rustix::net::sockopt::set_ip_tos(&*far.rtp, 46 << 2).unwrap();
    rustix::net::sockopt::set_ip_ttl(&*far.rtp, 33).unwrap();
    let invite = far.next("INVITE").await;
    far.accept(&invite, 8, "a=ptime:40\r\n").await;
    far.next("ACK").await;
    let heard = Counter::start(&far.rtp, 12);
    let reports = tokio::spawn(report(far.rtcp.clone(), invite.clone()));
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();

    let mut talker = Talker::new(&far.rtp, invite.media(), 8, 40);
    talker.talk(CALM).await;
    // Three in a row are lost.
    for _ in 0..3 {
        talker.skip(Duration::ZERO).await;
    }
    talker.talk(CALM).await;
    // One comes twice.
    let twice = talker.packet();
    talker.send().await;
    talker.put(&twice).await;
    talker.talk(CALM).await;
    // One comes half a second late: nobody waits that long.
    let late = talker.packet();
    talker.skip(Duration::ZERO).await;
    talker.talk(12).await;
    talker.put(&late).await;
    talker.talk(CALM).await;
    // Another payload type for a while.
    talker.payload_type = 0;
    talker.talk(5).await;
    talker.payload_type = 8;
    talker.talk(CALM).await;
    // The clock of the stream jumps by ten seconds.
    talker.timestamp = talker.timestamp.wrapping_add(80_000);
    talker.talk(CALM).await;
    // The numbers jump, then begin again.
    talker.sequence = talker.sequence.wrapping_add(10_000);
    talker.talk(CALM).await;
    talker.sequence = 10;
    talker.talk(CALM).await;
    // Another source on the same socket, and four packets from elsewhere.
    talker.ssrc = 0x0a0b_0c0d;
    talker.talk(CALM).await;
    for _ in 0..4 {
        stranger
            .send_to(&talker.packet(), invite.media())
            .await
            .unwrap();
    }
    let bye = far.next("BYE").await;
    far.answer(&bye, "200 OK", "", "").await;
    let (reports, between_reports) = reports.await.unwrap();
    Truth {
        packets: talker.sent,
        octets: talker.sent * talker.octets() as u32,
        heard,
        reports,
        between_reports,
    }
}

/// Answers the worker's first report twice, a second apart: a quarter lost, 77 in all, 10 ms of
/// jitter, and a round trip that took so much longer.
async fn report(rtcp: Arc<UdpSocket>, invite: Request) -> (Counter, Duration) {
    let mut wire = [0; 512];
    let length = soon("a report of the worker", rtcp.recv(&mut wire)).await;
    let at = Instant::now();
    assert!(length.unwrap() >= 28 && wire[1] == 200, "no sender report");
    let counted = Counter::start(&rtcp, 0);
    let mut to = invite.media();
    to.set_port(to.port() + 1);
    let mut sent = Vec::new();
    for wait in [200, 1000] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let held = at.elapsed().saturating_sub(ROUND_TRIP);
        rtcp.send_to(&receiver_report(&wire, held), to)
            .await
            .unwrap();
        sent.push(Instant::now());
    }
    (counted, sent[1] - sent[0])
}

/// RFC 3550 §6.4.2: one block, about the stream of the sender report `wire`.
fn receiver_report(wire: &[u8], held: Duration) -> Vec<u8> {
    let mut out = vec![0x81, 201, 0, 7];
    out.extend(SSRC.to_be_bytes());
    out.extend(&wire[4..8]);
    out.extend([64, 0, 0, 77]);
    out.extend(1_u32.to_be_bytes());
    out.extend(80_u32.to_be_bytes());
    // The middle 32 bits of the report's NTP time, and the time since.
    out.extend(&wire[10..14]);
    out.extend(((held.as_secs_f64() * 65_536.0) as u32).to_be_bytes());
    out
}

/// Every second packet comes 15 ms late.
async fn uneven(mut far: FarEnd) {
    let invite = far.next("INVITE").await;
    far.accept(&invite, 8, "").await;
    far.next("ACK").await;
    let mut talker = Talker::new(&far.rtp, invite.media(), 8, 20);
    for _ in 0..100 {
        talker.send().await;
        let late = talker.packet();
        talker.skip(Duration::from_millis(15)).await;
        talker.put(&late).await;
    }
    let bye = far.next("BYE").await;
    far.answer(&bye, "200 OK", "", "").await;
}

/// Sends a calm stream of another codec, and wants none back.
async fn even(mut far: FarEnd) {
    let invite = far.next("INVITE").await;
    far.accept(&invite, 0, "a=sendonly\r\n").await;
    far.next("ACK").await;
    let mut talker = Talker::new(&far.rtp, invite.media(), 0, 20);
    talker.talk(80).await;
    let bye = far.next("BYE").await;
    far.answer(&bye, "200 OK", "", "").await;
}

/// Every figure of a stream has the value the far end knows.
#[test]
pub(crate) fn stream_figures_are_what_the_far_end_did() {
    let _load = LOAD.blocking_read();
    calm(stream_figures);
}

async fn stream_figures() {
    go_first();
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let (bad, late, good) = (
        FarEnd::new().await,
        FarEnd::new().await,
        FarEnd::new().await,
    );
    let group = |name, far: &FarEnd, codec, call_ms| Group {
        peers: vec![format!("sip:far@{}", far.address())],
        codec,
        call_ms,
        run_ms: 12_500,
        ..Group::new(name, Role::Caller, 1)
    };
    let groups = [
        group("driven", &bad, "pcma", 11_000),
        group("uneven", &late, "pcma", 4500),
        group("control", &good, "pcmu", 1800),
    ];
    let bad = tokio::spawn(faulty(bad));
    let late = tokio::spawn(uneven(late));
    let good = tokio::spawn(even(good));
    let mut told = begin(&mut peer, "run-1", &groups).await;
    finish(&mut peer, &mut told, PATIENCE).await;
    let truth = bad.await.unwrap();
    late.await.unwrap();
    good.await.unwrap();
    assert_eq!(told.failed(), Vec::<String>::new());
    // The run is over: nothing more comes.
    let (packets, octets) = truth.heard.finish().await;
    let (reports, _) = truth.reports.finish().await;

    let (send, recv) = (Direction::Send, Direction::Recv);
    let sum = |key, direction, value: f64| Claim::exactly(key, direction, Figure::Sum, value);
    let driven = vec![
        sum("packets_sent", send, packets),
        sum("bytes_sent", send, octets),
        sum("packets_received", recv, truth.packets.into()),
        sum("bytes_received", recv, truth.octets.into()),
        sum("duplicate_packets", recv, 1.0),
        sum("out_of_order_packets", recv, 1.0),
        sum("sequence_number_jumps", recv, 1.0),
        sum("sequence_number_resets", recv, 1.0),
        sum("timestamp_jumps", recv, 1.0),
        sum("ssrc_switches", recv, 1.0),
        sum("payload_type_changes", recv, 2.0),
        sum("unexpected_source_packets", recv, 4.0),
        sum("jb_late_packets", recv, 1.0),
        sum("jb_duplicates", recv, 1.0),
        sum("rtcp_sent", send, 1.0 + reports),
        sum("rtcp_received", recv, 2.0),
        Claim::exactly("sequence_number_gaps", recv, Figure::Highest, 3),
        Claim::exactly("burst_density", recv, Figure::Highest, 1),
        Claim::exactly("burst_duration", recv, Figure::Highest, 120),
        Claim::exactly("remote_fraction_lost", send, Figure::Highest, 25),
        Claim::exactly("remote_jitter_ms", send, Figure::Highest, 10),
        Claim::exactly("remote_packets_lost", send, Figure::Highest, 77),
        Claim::exactly("dscp_received", recv, Figure::Median, 46),
        Claim::exactly("ttl_received", recv, Figure::Median, 33),
        Claim::exactly("audio_codec", send, Figure::Call(1), 8),
        Claim::exactly("audio_packetization_ms", send, Figure::Call(1), 40),
        Claim::between("packets_sent_rate_ps", send, Figure::Median, 24.0, 26.0),
        Claim::between("packets_recv_rate_ps", recv, Figure::Median, 24.0, 26.0),
        Claim::between(
            "bytes_sent_rate_bps",
            send,
            Figure::Median,
            61_440.0,
            66_560.0,
        ),
        // Three packets of 40 ms between two that came.
        Claim::lasts(
            "max_packet_spacing",
            recv,
            Figure::Highest,
            Duration::from_millis(160),
        ),
        Claim::lasts("rtt_ms", recv, Figure::Highest, ROUND_TRIP),
        Claim::lasts(
            "rtcp_sr_rr_interval_ms",
            recv,
            Figure::Highest,
            truth.between_reports,
        ),
    ];
    let uneven = vec![
        // Each packet is 15 ms nearer to or farther from the one before.
        Claim::between("jitter_ms", recv, Figure::Median, 13.0, 17.0),
        Claim::between("pdv_p95_ms", recv, Figure::Median, 14.0, 18.0),
        Claim::between("min_packet_spacing", recv, Figure::Median, 3.0, 6.0),
    ];
    let view = |group| View { told: &told, group };
    prove(
        &[(view("driven"), driven), (view("uneven"), uneven)],
        view("control"),
        KEYS,
    );
}
