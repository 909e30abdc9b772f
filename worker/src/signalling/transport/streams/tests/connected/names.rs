//! What servers are called, and have to prove.

use super::*;

const SHARE: ShareId = ShareId(0);

fn localhost() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

/// How many names are kept of one that is called by two.
fn kept(transport: &str, verify: TlsVerify) -> usize {
    let tls = Tls {
        verify: verify.into(),
        ..Tls::default()
    };
    let mut streams = Rig::with(transport, Some(tls)).streams;
    for name in ["a.example", "A.example", "b.example"] {
        assert_eq!(streams.calls(SHARE, name, localhost()), Ok(()));
    }
    let kept = streams.names.values().map(Vec::len).sum();
    streams.close(SHARE);
    assert!(streams.names.is_empty());
    kept
}

#[test]
fn names_are_kept_as_far_as_they_are_told_or_checked() {
    for (transport, verify, wanted) in [
        ("tls", TlsVerify::System, 2),
        ("wss", TlsVerify::System, 2),
        ("tls", TlsVerify::Skip, 1),
        ("ws", TlsVerify::System, 1),
        ("tcp", TlsVerify::System, 0),
    ] {
        assert_eq!(kept(transport, verify), wanted, "{transport} {verify:?}");
    }
    let mut streams = Rig::new("tls").streams;
    let names = (0..17).map(|n| streams.calls(SHARE, &format!("{n}.example"), localhost()));
    let last = names.last().unwrap().unwrap_err();
    assert_eq!(last, "127.0.0.1 has 16 names already");
}

/// A server with a certificate for a.test and b.test that is called these names before it is
/// connected to; the far end stays if it got the message.
fn connected(names: &[&str]) -> (Rig, std::thread::JoinHandle<Option<impl Send>>) {
    let now = Instant::now();
    let (config, trusted) = tls_server(&["a.test", "b.test"]);
    let mut rig = Rig::with("tls", Some(trusted));
    for name in names {
        assert_eq!(rig.streams.calls(SHARE, name, localhost()), Ok(()));
    }
    rig.send(now);
    let stream = rig.accept();
    (rig, answer(&config, stream))
}

/// The far end of a connection; it stays if it got the message.
fn answer(
    config: &Arc<ServerConfig>,
    stream: TcpStream,
) -> std::thread::JoinHandle<Option<impl Send + use<>>> {
    let session = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
    let mut far = StreamOwned::new(session, stream);
    std::thread::spawn(move || {
        let read = far.read_exact(&mut vec![0; MESSAGE.len()]);
        read.is_ok().then_some(far)
    })
}

impl Rig {
    /// What the server is called.
    fn named(&self) -> Vec<String> {
        let names = self.streams.names.values().flatten();
        names.map(|name| name.to_str().into_owned()).collect()
    }

    /// The peer answers with a certificate that proves its names and gets the message, or it does not
    /// and gets nothing.
    fn is_answered(
        &mut self,
        now: Instant,
        config: &Arc<ServerConfig>,
        stream: TcpStream,
        proves: bool,
    ) {
        let far = answer(config, stream);
        if proves {
            self.opened(now);
            self.turns_until(now, |_| far.is_finished().then_some(()));
        } else {
            assert!(self.broken(now).1);
        }
        assert_eq!(far.join().unwrap().is_some(), proves);
    }
}

/// All calls to an address go by the connection there is.
#[test]
fn a_server_proves_each_name_it_is_called() {
    let now = Instant::now();
    let wrong = "TLS handshake failure: certificate is valid for a.test, b.test, not c.test";
    let (mut rig, far) = connected(&["a.test", "b.test"]);
    rig.opened(now);
    rig.turns_until(now, |_| far.is_finished().then_some(()));
    let _stays = far.join().unwrap().unwrap();
    for (name, wanted) in [
        ("b.test", Ok(())),
        ("B.TEST", Ok(())),
        ("c.test", Err(wrong.to_owned())),
    ] {
        assert_eq!(rig.streams.calls(SHARE, name, localhost()), wanted);
    }
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2).into();
    assert_eq!(rig.streams.calls(SHARE, "c.test", elsewhere), Ok(()));
    // Known before there is a connection: nothing goes to a server that is not both, and the next
    // one need be no more than this one is.
    let (mut rig, far) = connected(&["a.test", "c.test"]);
    assert_eq!(rig.broken(now), (wrong.to_owned(), true));
    assert!(far.join().unwrap().is_none());
    assert_eq!(rig.named(), ["a.test"]);
}

/// One of several connections that break for a name does not let the others through.
#[test]
fn a_name_is_proven_by_each_connection_it_may_be_called_over() {
    let now = Instant::now();
    let (config, trusted) = tls_server(&["a.test"]);
    let mut rig = Rig::with("tls", Some(trusted));
    for name in ["a.test", "b.test"] {
        assert_eq!(rig.streams.calls(SHARE, name, localhost()), Ok(()));
    }
    let mut accepted = Vec::new();
    for _ in 0..2 {
        rig.send(now);
        accepted.push(rig.accept());
        rig.listens_elsewhere();
    }
    let wrong = "TLS handshake failure: certificate is valid for a.test, not b.test";
    for stream in accepted {
        let far = answer(&config, stream);
        assert_eq!(rig.broken(now), (wrong.to_owned(), true));
        assert!(far.join().unwrap().is_none());
    }
}

/// A server that nobody has called by a name is asked for its address, which says nothing of what
/// it is called later.
#[test]
fn an_address_is_no_name() {
    let now = Instant::now();
    let (config, trusted) = tls_server(&["b.test"]);
    let mut rig = Rig::with("tls", Some(trusted));
    rig.send(now);
    drop(rig.accept());
    assert!(!rig.broken(now).1);
    assert!(rig.named().is_empty());
    assert_eq!(rig.streams.calls(SHARE, "b.test", localhost()), Ok(()));
    rig.send(now);
    let stream = rig.accept();
    let far = answer(&config, stream);
    rig.opened(now);
    rig.turns_until(now, |_| far.is_finished().then_some(()));
    assert!(far.join().unwrap().is_some());
}

/// It is called by a name while it has not shown yet that it is its address.
#[test]
fn a_name_is_proven_by_a_connection_to_an_address() {
    let now = Instant::now();
    for (names, proves) in [
        (&["127.0.0.1"][..], false),
        (&["127.0.0.1", "b.test"], true),
    ] {
        let (config, trusted) = tls_server(names);
        let mut rig = Rig::with("tls", Some(trusted));
        rig.send(now);
        let stream = rig.accept();
        assert_eq!(rig.streams.calls(SHARE, "b.test", localhost()), Ok(()));
        rig.is_answered(now, &config, stream, proves);
        assert_eq!(rig.named().len(), usize::from(proves));
    }
}

/// The control: who need not prove anything may be called anything.
#[test]
fn without_checks_a_connection_takes_every_name() {
    let now = Instant::now();
    let (config, _) = tls_server(&["a.test"]);
    let tls = Tls {
        verify: TlsVerify::Skip.into(),
        ..Tls::default()
    };
    let mut rig = Rig::with("tls", Some(tls));
    rig.send(now);
    let stream = rig.accept();
    let far = answer(&config, stream);
    rig.opened(now);
    rig.turns_until(now, |_| far.is_finished().then_some(()));
    for name in ["b.test", "c.test"] {
        assert_eq!(rig.streams.calls(SHARE, name, localhost()), Ok(()));
    }
}

/// What it proved once is somewhere else now, and somebody else is here.
#[test]
fn a_name_that_has_moved_is_not_asked_for_again() {
    let now = Instant::now();
    let both = ["a.test", "b.test"].map(|name| tls_server(&[name]));
    let authorities = both.iter().map(|(_, trusted)| trusted.ca_pem.as_str());
    let trusted = Tls {
        ca_pem: authorities.collect(),
        ..both[0].1.clone()
    };
    let [(first, _), (second, _)] = both;
    let mut rig = Rig::with("tls", Some(trusted));
    for (name, config, opens) in [
        ("a.test", &first, true),
        ("b.test", &second, false),
        ("b.test", &second, true),
    ] {
        assert_eq!(rig.streams.calls(SHARE, name, localhost()), Ok(()));
        rig.send(now);
        let stream = rig.accept();
        let far = answer(config, stream);
        if opens {
            rig.opened(now);
            rig.turns_until(now, |_| far.is_finished().then_some(()));
            drop(far.join().unwrap());
            assert!(!rig.broken(now).1);
        } else {
            assert!(rig.broken(now).1);
        }
        let left = if opens { vec![name] } else { vec![] };
        assert_eq!(rig.named(), left);
    }
}

/// What a server has proven is not forgotten for one name that it is not.
#[test]
fn a_name_that_is_proven_stays() {
    let now = Instant::now();
    let (config, trusted) = tls_server(&["a.test", "b.test"]);
    let mut rig = Rig::with("tls", Some(trusted));
    assert_eq!(rig.streams.calls(SHARE, "a.test", localhost()), Ok(()));
    for (name, stays) in [(None, true), (Some("c.test"), false), (None, true)] {
        if let Some(name) = name {
            assert_eq!(rig.streams.calls(SHARE, name, localhost()), Ok(()));
        }
        rig.send(now);
        let stream = rig.accept();
        let far = answer(&config, stream);
        if stays {
            rig.opened(now);
            rig.turns_until(now, |_| far.is_finished().then_some(()));
            // Its end is no matter of names.
            drop(far.join().unwrap());
            assert!(!rig.broken(now).1);
        } else {
            assert!(rig.broken(now).1);
        }
        assert_eq!(rig.named(), ["a.test"]);
    }
}

/// Who is not the registrar does not get what goes to it by being called something else at its
/// address, before or after he was asked.
#[test]
fn a_registrar_proves_its_own_name_always() {
    let now = Instant::now();
    let (config, trusted) = tls_server(&["b.test"]);
    let mut rig = Rig::of_domain("a.test", "tls", Some(trusted));
    assert_eq!(rig.streams.calls(SHARE, "b.test", localhost()), Ok(()));
    rig.streams.serves(SHARE, localhost());
    for _ in 0..2 {
        rig.send(now);
        let stream = rig.accept();
        rig.is_answered(now, &config, stream, false);
        assert_eq!(rig.named(), ["a.test"]);
        assert_eq!(rig.streams.calls(SHARE, "b.test", localhost()), Ok(()));
    }
    // The control: at the address of somebody else it counts only where he is called nothing else.
    let (config, trusted) = tls_server(&["b.test"]);
    let mut rig = Rig::of_domain("a.test", "tls", Some(trusted));
    for calls in [false, true] {
        if calls {
            assert_eq!(rig.streams.calls(SHARE, "b.test", localhost()), Ok(()));
        }
        rig.send(now);
        let stream = rig.accept();
        rig.is_answered(now, &config, stream, calls);
    }
}
