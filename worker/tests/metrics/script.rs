//! SIPp as a far end that follows a script and keeps a log: what it says of the calls is the truth
//! the worker's figures are compared with.

use std::time::Duration;

use callmeter_proto::worker::Outcome;

use crate::support::{
    gateway::TestGateway,
    peer_process::{Sipp, SippTotals, program},
    ports,
    process::{Worker, environment},
    run::{Group, Told, begin, finish},
};

/// A scenario of SIPp as a callee; it fails with the first message that is not the next one here.
pub(crate) struct Script(String);

/// Header lines of a response in a dialog.
const OF_LAST: &str = "[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]";
/// The same of a response to the INVITE that starts it.
const OF_FIRST: &str = "Via:[$via]\nFrom:[$from]\nTo:[$to];tag=[pid]-[call_number]\n\
                        [last_Call-ID:]\nCSeq:[$cseq]";

impl Script {
    /// Takes an INVITE.
    pub(crate) fn callee() -> Self {
        Self::of_invite(&[])
    }

    /// Takes an INVITE whose header fields match these regular expressions.
    pub(crate) fn of_invite(fields: &[(&str, &str)]) -> Self {
        Self("<?xml version=\"1.0\"?>\n<scenario name=\"far end\">\n".to_owned()).takes_call(fields)
    }

    /// Takes the INVITE that starts the call, the first one or one after a refusal.
    pub(crate) fn takes_call(mut self, fields: &[(&str, &str)]) -> Self {
        let mut kept = String::new();
        for (name, variable, part) in [
            ("Via", "via", ".*"),
            ("From", "from", ".*"),
            ("To", "to", ".*"),
            ("CSeq", "cseq", ".*"),
            ("Contact", "contact", "sip:[a-z0-9@.:-]*"),
        ] {
            kept += &format!(
                "<ereg regexp=\"{part}\" search_in=\"hdr\" header=\"{name}:\" \
                 assign_to=\"{variable}\"/>\n"
            );
        }
        let checks = checks(fields);
        self.0 += &format!("<recv request=\"INVITE\"><action>\n{kept}{checks}</action></recv>\n");
        self
    }

    /// Takes a request.
    pub(crate) fn takes(self, method: &str) -> Self {
        self.takes_with(method, &[])
    }

    /// Takes a request whose header fields match; a field without a name is the body.
    pub(crate) fn takes_with(mut self, method: &str, fields: &[(&str, &str)]) -> Self {
        let action = match fields {
            [] => String::new(),
            fields => format!("<action>{}</action>", checks(fields)),
        };
        self.0 += &format!("<recv request=\"{method}\">{action}</recv>\n");
        self
    }

    /// Takes a response; others than to our INVITE have no 100.
    pub(crate) fn takes_response(mut self, status: u16) -> Self {
        self.0 += "<recv response=\"100\" optional=\"true\"></recv>\n";
        self.0 += &format!("<recv response=\"{status}\"></recv>\n");
        self
    }

    pub(crate) fn waits(mut self, time: Duration) -> Self {
        let ms = time.as_millis();
        self.0 += &format!("<pause milliseconds=\"{ms}\"/>\n");
        self
    }

    /// Answers the request before; `more` are whole header lines.
    pub(crate) fn answers(self, status: &str, more: &str) -> Self {
        self.sends(&format!("SIP/2.0 {status}\n{OF_LAST}"), more, "", false)
    }

    /// Answers the first INVITE.
    pub(crate) fn answers_call(self, status: &str, more: &str) -> Self {
        let again = !status.starts_with('1');
        let head =
            format!("SIP/2.0 {status}\n{OF_FIRST}\nContact: <sip:far@[local_ip]:[local_port]>");
        let body = if again && !status.starts_with('2') {
            String::new()
        } else {
            description(1, "sendrecv")
        };
        self.sends(&head, more, &body, again)
    }

    /// Accepts an offer within the call, with an `a=` line for the direction.
    pub(crate) fn accepts(self, version: u32, direction: &str) -> Self {
        let head = format!("SIP/2.0 200 OK\n{OF_LAST}\nContact: <sip:far@[local_ip]:[local_port]>");
        self.sends(&head, "", &description(version, direction), true)
    }

    /// Sends a request within the call; `number` is its own of CSeq.
    pub(crate) fn asks(self, method: &str, number: u32, more: &str, body: &str) -> Self {
        let head = format!(
            "{method} [$contact] SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n\
             From:[$to];tag=[pid]-[call_number]\nTo:[$from]\nCall-ID: [call_id]\n\
             CSeq: {number} {method}\nContact: <sip:far@[local_ip]:[local_port]>\n\
             Max-Forwards: 70"
        );
        self.sends(&head, more, body, method != "ACK")
    }

    /// Offers a direction of the media within the call.
    pub(crate) fn offers(self, number: u32, version: u32, direction: &str) -> Self {
        let body = description(version, direction);
        self.asks("INVITE", number, "", &body)
            .takes_response(200)
            .asks("ACK", number, "", "")
    }

    /// Hangs up when the worker does; stays a moment for what is sent again.
    pub(crate) fn ends(self) -> String {
        self.ends_after(Duration::from_millis(1500))
    }

    /// The same, and stays so long.
    pub(crate) fn ends_after(self, stay: Duration) -> String {
        self.takes("BYE").answers("200 OK", "").closes(stay)
    }

    /// The call is over; stays so long for what is sent again.
    pub(crate) fn closes(mut self, stay: Duration) -> String {
        // SIPp takes a variable that is not read for a mistake, and one that is not there.
        let seen = if self.0.contains("\"seen\"") {
            ",seen"
        } else {
            ""
        };
        self.0 += &format!(
            "<timewait milliseconds=\"{}\"/>\n\
             <Reference variables=\"via,from,to,cseq,contact{seen}\"/>\n</scenario>\n",
            stay.as_millis()
        );
        self.0
    }

    fn sends(mut self, head: &str, more: &str, body: &str, again: bool) -> Self {
        let again = if again { " retrans=\"500\"" } else { "" };
        let mut head = head.to_owned();
        if !more.is_empty() {
            head = format!("{head}\n{more}");
        }
        if !body.is_empty() && !head.contains("Content-Type:") {
            head += "\nContent-Type: application/sdp";
        }
        self.0 += &format!(
            "<send{again}><![CDATA[\n\n{head}\nContent-Length: [len]\n\n{body}\n]]></send>\n"
        );
        self
    }
}

fn checks(fields: &[(&str, &str)]) -> String {
    let check = |(name, pattern): &(&str, &str)| {
        let place = match *name {
            "" => "search_in=\"body\"".to_owned(),
            name => format!("search_in=\"hdr\" header=\"{name}:\""),
        };
        format!("<ereg regexp=\"{pattern}\" {place} check_it=\"true\" assign_to=\"seen\"/>\n")
    };
    fields.iter().map(check).collect()
}

fn description(version: u32, direction: &str) -> String {
    format!(
        "v=0\no=far 1 {version} IN IP4 [media_ip]\ns=-\nc=IN IP4 [media_ip]\nt=0 0\n\
         m=audio [media_port] RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000\na={direction}\n"
    )
}

/// A message in the log of SIPp.
#[derive(Debug)]
struct Logged {
    at: f64,
    sent: bool,
    cseq: String,
    line: String,
}

/// A SIPp that follows a script once in each call.
pub(crate) struct Scripted {
    sipp: Sipp,
    port: u16,
    calls: u32,
}

impl Scripted {
    /// One call; none if SIPp is not installed.
    pub(crate) async fn spawn(script: &str) -> Option<Self> {
        Self::spawn_for(script, 1).await
    }

    /// So many calls.
    pub(crate) async fn spawn_for(script: &str, calls: u32) -> Option<Self> {
        let scripted = Self::start(script, calls, &[])?;
        scripted.sipp.listens(scripted.port).await;
        Some(scripted)
    }

    /// Calls a user at an address of this host.
    pub(crate) fn call(script: &str, uri: &str) -> Option<Self> {
        let (user, remote) = uri.trim_start_matches("sip:").split_once('@').unwrap();
        Self::start(script, 1, &["-s", user, remote])
    }

    fn start(script: &str, calls: u32, more: &[&str]) -> Option<Self> {
        let path = program("sipp")?;
        let ports = ports::block();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("script.xml"), script).unwrap();
        let count = calls.to_string();
        let all = [
            &["-sf", "script.xml", "-m", count.as_str()][..],
            &["-trace_shortmsg", "-shortmessage_file", "short.log"],
            more,
        ]
        .concat();
        let sipp = Sipp::spawn(&path, folder, ports, &all);
        let port = ports.sip_first;
        Some(Self { sipp, port, calls })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn uri(&self) -> String {
        format!("sip:far@127.0.0.1:{}", self.port)
    }

    /// Waits until the script is through and reads the log: everything came as it says.
    pub(crate) async fn finish(mut self) -> Log {
        let code = self.sipp.0.exit_code().await;
        assert_eq!(code, Some(0), "{}", self.sipp.0.output());
        let totals = self.sipp.totals();
        let wanted = SippTotals {
            successful: self.calls.into(),
            failed: 0,
            unexpected: 0,
            ..totals
        };
        assert_eq!(totals, wanted);
        let text = std::fs::read_to_string(self.sipp.0.folder.path().join("short.log")).unwrap();
        let logged = |line: &str| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [_, _, at, way, _, cseq, line] = fields[..] else {
                panic!("{line}");
            };
            Logged {
                at: at.parse().unwrap(),
                sent: way == "S",
                cseq: cseq.trim_start_matches("CSeq:").trim().to_owned(),
                line: line.to_owned(),
            }
        };
        Log(text.lines().map(logged).collect())
    }
}

/// A run of callers, one call each, against a SIPp each with the script beside it: what the worker
/// told of them and the logs, once every call has ended with its outcome and every script is
/// through. None if SIPp is not installed.
pub(crate) async fn run_against<const N: usize>(
    parts: [(Group, String, Outcome); N],
    patience: Duration,
) -> Option<(Told, [Log; N])> {
    let mut gateway = TestGateway::start().await;
    let _worker = Worker::spawn(&environment(&gateway, ports::block()));
    let mut peer = gateway.welcome().await;
    let (mut groups, mut outcomes, mut far_ends) = (Vec::new(), Vec::new(), Vec::new());
    for (group, script, outcome) in parts {
        let sipp = Scripted::spawn(&script).await?;
        groups.push(Group {
            peers: vec![sipp.uri()],
            ..group
        });
        outcomes.push(outcome);
        far_ends.push(sipp);
    }
    let mut told = begin(&mut peer, "run-1", &groups).await;
    finish(&mut peer, &mut told, patience).await;
    for (group, outcome) in groups.iter().zip(outcomes) {
        let calls = told.calls(group.name);
        assert!(
            matches!(&calls[..], [(ended, _)] if *ended == outcome),
            "{} {calls:?}",
            group.name
        );
    }
    let mut logs = Vec::new();
    for sipp in far_ends {
        logs.push(sipp.finish().await);
    }
    Some((told, logs.try_into().expect("a log for each group")))
}

/// What a SIPp sent and got, and when.
#[derive(Debug)]
pub(crate) struct Log(Vec<Logged>);

impl Log {
    /// The CSeq of the requests of a method it got, each once, in order.
    pub(crate) fn requests(&self, method: &str) -> Vec<String> {
        let start = format!("{method} ");
        let got = self
            .0
            .iter()
            .filter(|logged| !logged.sent && logged.line.starts_with(&start));
        let mut numbers: Vec<String> = got.map(|logged| logged.cseq.clone()).collect();
        numbers.dedup();
        numbers
    }

    /// From the first time it got the request with this CSeq to its final answer.
    pub(crate) fn answered(&self, cseq: &str) -> Duration {
        let is_final = |line: &str| line.starts_with("SIP/2.0 ") && !line.starts_with("SIP/2.0 1");
        self.since(cseq, |logged| {
            logged.sent && logged.cseq == cseq && is_final(&logged.line)
        })
    }

    /// From the first time it got the request with this CSeq to its response of a status, which may
    /// be to another request.
    pub(crate) fn until_response(&self, cseq: &str, status: u16) -> Duration {
        let start = format!("SIP/2.0 {status} ");
        self.since(cseq, |logged| {
            logged.sent && logged.line.starts_with(&start)
        })
    }

    /// From the first time it got the request with this CSeq to its last request of a method.
    pub(crate) fn until_request(&self, cseq: &str, method: &str) -> Duration {
        let start = format!("{method} ");
        self.since(cseq, |logged| {
            logged.sent && logged.line.starts_with(&start)
        })
    }

    /// From one request it got to another.
    pub(crate) fn between_requests(&self, first: &str, last: &str) -> Duration {
        self.since(first, |logged| !logged.sent && logged.cseq == last)
    }

    /// From when it sent a response of a status to when it sent the answer to that request.
    pub(crate) fn response_to_answer(&self, status: u16, cseq: &str) -> Duration {
        let start = format!("SIP/2.0 {status} ");
        let first = self.find(|logged| logged.sent && logged.line.starts_with(&start));
        let last = self.find(|logged| {
            logged.sent && logged.cseq == cseq && logged.line.starts_with("SIP/2.0 2")
        });
        Duration::from_secs_f64(last - first)
    }

    /// From the answer it got to its INVITE to its ACK.
    pub(crate) fn acknowledged(&self) -> Duration {
        let answer = self.find(|logged| !logged.sent && logged.line.starts_with("SIP/2.0 200"));
        let ack = self.find(|logged| logged.sent && logged.line.starts_with("ACK "));
        Duration::from_secs_f64(ack - answer)
    }

    fn since(&self, cseq: &str, to: impl Fn(&&Logged) -> bool) -> Duration {
        let first = self.find(|logged| !logged.sent && logged.cseq == cseq);
        let last = self.0.iter().rfind(to);
        let last = last.unwrap_or_else(|| panic!("no answer to {cseq}: {self:?}"));
        Duration::from_secs_f64(last.at - first)
    }

    fn find(&self, wanted: impl Fn(&Logged) -> bool) -> f64 {
        let found = self.0.iter().find(|logged| wanted(logged));
        found.unwrap_or_else(|| panic!("{self:?}")).at
    }
}
