//! What connections took: each endpoint its own, where it has one, and those made again (42, 43).
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callmeter_engine::media::{MediaCommand, MediaEvent};
use callmeter_engine::{
    Engine, EngineConfig, Flow, Listener, LocalId, MetricId, Output, Role, SampleRow, ShareId,
    Transport,
};
use callmeter_metrics::id;
use common::{World, ms, secs};

const SHARE: ShareId = ShareId(1);
const COUNT: u32 = 3;

/// An engine with endpoints over TCP, and what it said.
struct Bench {
    engine: Engine,
    now: Instant,
    /// Requests on their way: how they go, and their texts.
    sent: Vec<(Flow, String)>,
    rows: Vec<SampleRow>,
}

impl Bench {
    /// Three endpoints, with connections of their own or one for all.
    fn new(role: Role, own: bool, registers: bool) -> Self {
        let world = World::new(1, 1);
        let mut plan = world.plan(0, 1, role, COUNT);
        let stream = |local: LocalId, port: u16| {
            let bound = SocketAddr::from(([192, 0, 2, 1], port));
            Listener::stream(local, Transport::Tcp, bound, None, false)
        };
        plan.registrar.transport = Transport::Tcp;
        plan.duration = secs(600);
        plan.registrar.register = registers;
        plan.registrar.domain = "192.0.2.100".into();
        plan.listener = stream(SHARE.local(), 5061);
        if own {
            let each = (0..COUNT).map(|n| stream(SHARE.local_of(n), 5070 + n as u16));
            plan.listeners = each.collect();
        }
        let now = world.now;
        let mut bench = Self {
            engine: Engine::new(EngineConfig::default(), 1),
            now,
            sent: Vec::new(),
            rows: Vec::new(),
        };
        bench.engine.assign(now, plan).unwrap();
        bench.run_for(secs(1));
        bench
    }

    fn start(&mut self) {
        let peers = vec!["sip:far@192.0.2.9:5060".to_owned(); COUNT as usize];
        self.engine.start(self.now, SHARE, peers).unwrap();
        self.run_for(ms(500));
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            let Some(at) = self.engine.next_timeout().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Transmit { flow, bytes, .. } => {
                    let text = String::from_utf8(bytes.to_vec()).unwrap();
                    self.sent.push((flow, text));
                }
                Output::Media(MediaCommand::Open { stream }) => {
                    let local = SocketAddr::from(([192, 0, 2, 1], 40_000));
                    let opened = MediaEvent::Opened { stream, local };
                    self.engine.handle_media(self.now, opened);
                }
                Output::Rows { rows, .. } => self.rows.extend(rows),
                _ => {}
            }
        }
    }

    /// The requests of a method since the last look.
    fn take(&mut self, method: &str) -> Vec<(Flow, String)> {
        let sent = std::mem::take(&mut self.sent);
        let of_method = |(_, text): &(Flow, String)| text.starts_with(method);
        sent.into_iter().filter(of_method).collect()
    }

    fn reply(&mut self, (flow, request): &(Flow, String), status: &str) {
        let copied: String = request
            .lines()
            .filter(|line| {
                let name = line.split(':').next().unwrap_or_default();
                ["Via", "From", "To", "Call-ID", "CSeq", "Contact"].contains(&name)
            })
            .flat_map(|line| [line, "\r\n"])
            .collect();
        let text = format!("SIP/2.0 {status}\r\n{copied}Expires: 300\r\nContent-Length: 0\r\n\r\n");
        self.engine.handle_sip(self.now, *flow, Bytes::from(text));
        self.run_for(ms(100));
    }

    /// Endpoint, call and value of a metric of whole calls, in the order they were written.
    fn values(&self, metric: MetricId) -> Vec<(u32, u32, f64)> {
        let mut found = Vec::new();
        for row in self.rows.iter().filter(|row| row.per_call) {
            let of_metric = row.values.iter().filter(|value| value.metric == metric);
            found.extend(of_metric.map(|value| (row.endpoint, row.call, value.value)));
        }
        found
    }
}

/// Calls over connections of their own: all are made before the first call ends, and each has what
/// its own took.
#[test]
fn calls_have_what_their_own_connections_took() {
    let mut bench = Bench::new(Role::Caller, true, false);
    bench.start();
    let invites = bench.take("INVITE");
    assert_eq!(invites.len(), 3);
    for (n, (flow, _)) in (1..).zip(&invites) {
        bench
            .engine
            .handle_connected(*flow, ms(10 * n), Some(ms(n)));
    }
    for invite in invites.iter().rev() {
        bench.reply(invite, "486 Busy Here");
    }
    bench.run_for(secs(10));
    let mut connect = bench.values(id::TCP_CONNECT_MS);
    connect.sort_by_key(|value| value.0);
    assert_eq!(connect, [(0, 1, 10.0), (1, 1, 20.0), (2, 1, 30.0)]);
    let mut tls = bench.values(id::TLS_HANDSHAKE_MS);
    tls.sort_by_key(|value| value.0);
    assert_eq!(tls, [(0, 1, 1.0), (1, 1, 2.0), (2, 1, 3.0)]);
}

/// Registrations likewise; a connection that broke and is made again has its figures with the
/// registration that follows, and a refresh over one that stands has none.
#[test]
fn a_connection_made_again_is_measured_again() {
    for own in [true, false] {
        let mut bench = Bench::new(Role::Callee, own, true);
        let registers = bench.take("REGISTER");
        assert_eq!(registers.len(), 3);
        let connections = if own { 3 } else { 1 };
        for (n, (flow, _)) in (1..).zip(&registers[..connections]) {
            bench.engine.handle_connected(*flow, ms(10 * n), None);
        }
        for register in registers.iter().rev() {
            bench.reply(register, "200 OK");
        }
        bench.start();
        bench.run_for(secs(2));
        let first = bench.values(id::TCP_CONNECT_MS);
        let wanted: &[_] = if own {
            &[(0, 0, 10.0), (1, 0, 20.0), (2, 0, 30.0)]
        } else {
            // Of the one for all it is who registered first.
            &[(2, 0, 10.0)]
        };
        assert_eq!(first, wanted);

        let broken = registers[1].0;
        bench.engine.flow_failed(bench.now, broken, "reset");
        bench.run_for(secs(2));
        let again = bench.take("REGISTER");
        assert_eq!(again.len(), if own { 1 } else { 3 });
        bench
            .engine
            .handle_connected(again[0].0, ms(77), Some(ms(7)));
        for register in &again {
            bench.reply(register, "200 OK");
        }
        bench.run_for(secs(2));
        let connect = bench.values(id::TCP_CONNECT_MS);
        assert_eq!(connect.len(), first.len() + 1);
        let (endpoint, call, took) = connect[first.len()];
        assert_eq!((call, took), (0, 77.0));
        assert!(!own || endpoint == 1, "{endpoint}");
        assert_eq!(bench.values(id::TLS_HANDSHAKE_MS), [(endpoint, 0, 7.0)]);
        assert_eq!(bench.values(id::REGISTRATION_TIME_MS).len(), 3);

        // A refresh over a connection that stands.
        let mut refreshes = 0;
        for _ in 0..20 {
            bench.run_for(secs(10));
            for refresh in bench.take("REGISTER") {
                bench.reply(&refresh, "200 OK");
                refreshes += 1;
            }
        }
        assert_eq!(refreshes, 3);
        bench.run_for(secs(2));
        assert_eq!(bench.values(id::TCP_CONNECT_MS), connect);
    }
}

/// Two connections within one second, in whose row there is room for one: the other waits for the
/// next registration.
#[test]
fn no_row_has_two_connections() {
    let mut bench = Bench::new(Role::Callee, true, true);
    let registers = bench.take("REGISTER");
    bench.engine.handle_connected(registers[0].0, ms(10), None);
    bench.reply(&registers[0], "200 OK");
    let again = |bench: &mut Bench, took: Option<u64>| {
        bench.engine.flow_failed(bench.now, registers[0].0, "reset");
        bench.run_for(secs(1));
        let register = bench.take("REGISTER").remove(0);
        if let Some(took) = took {
            bench.engine.handle_connected(register.0, ms(took), None);
        }
        bench.reply(&register, "200 OK");
    };
    // All before the start is in its first second.
    again(&mut bench, Some(20));
    bench.start();
    bench.run_for(secs(2));
    assert_eq!(bench.values(id::TCP_CONNECT_MS), [(0, 0, 10.0)]);
    again(&mut bench, None);
    bench.run_for(secs(2));
    let connect = bench.values(id::TCP_CONNECT_MS);
    assert_eq!(connect, [(0, 0, 10.0), (0, 0, 20.0)]);
}
