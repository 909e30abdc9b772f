//! Finding a server by DNS (RFC 3263 §4): what to ask, and where the answers lead.
//!
//! [`Locate`] asks nobody itself: take [`Locate::question`], give [`Locate::answer`], until
//! [`Locate::found`] holds the result.

mod records;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use rand::SeedableRng;
use rand::rngs::StdRng;
pub use records::{Naptr, Srv};

use crate::flow::Transport;
use crate::message::Host;

/// NAPTR services followed; a domain that offers more ways has enough of these.
const MOST_SERVICES: usize = 8;
/// SRV records followed of one service.
const MOST_RECORDS: usize = 16;
/// Addresses found in all.
const MOST_SERVERS: usize = 32;

/// A server that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host of the URI or of the outbound proxy.
    pub host: Host,
    /// Its port, if it names one: then there is nothing to look up but addresses (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// Its `transport` parameter, if it has one.
    pub transport: Option<Transport>,
    /// A `sips` URI: TLS on every hop.
    pub secure: bool,
}

/// Something to be asked of the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// NAPTR records of a name (RFC 3403).
    Naptr(String),
    /// SRV records of a name (RFC 2782).
    Srv {
        /// It.
        name: String,
        /// A NAPTR record of the domain has named it: there are such records.
        named: bool,
    },
    /// Addresses of a name.
    Addresses {
        /// It.
        name: String,
        /// It came from an SRV record, and is no name that a search list completes (RFC 2782).
        whole: bool,
    },
}

/// What the DNS said. An empty answer is one that has no such record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Naptr`].
    Naptr(Vec<Naptr>),
    /// To [`Question::Srv`].
    Srv(Vec<Srv>),
    /// To [`Question::Addresses`].
    Addresses(Vec<IpAddr>),
}

impl Question {
    /// The name it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Naptr(name) | Self::Srv { name, .. } | Self::Addresses { name, .. } => name,
        }
    }
}

/// Where the server is: a transport and its addresses, the best one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The transport all of `servers` have.
    pub transport: Transport,
    /// Addresses to try one after the other (RFC 3263 §4.3); never empty.
    pub servers: Vec<SocketAddr>,
}

/// Why nothing was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// No name on the way has an address.
    #[error("{host}: no address found{}", also(.asked))]
    NoAddress {
        /// The host looked for.
        host: String,
        /// Names whose records led nowhere.
        asked: Vec<String>,
    },
    /// What it names is not spoken here.
    #[error("{host}: transport {transport} is not among those that are spoken")]
    Transport {
        /// The host looked for.
        host: String,
        /// The transport it names.
        transport: Transport,
    },
}

fn also(asked: &[String]) -> String {
    if asked.is_empty() {
        String::new()
    } else {
        format!(" (asked for {})", asked.join(", "))
    }
}

/// The search for one server.
#[derive(Debug)]
pub struct Locate {
    host: String,
    spoken: Vec<Transport>,
    secure: bool,
    /// For the choice among SRV records of one priority.
    rng: StdRng,
    step: Step,
    /// Services not tried yet: a transport and the name of its SRV records.
    services: VecDeque<(Transport, String)>,
    /// They are those that the domain says it has.
    named: bool,
    /// The transport to the address of the domain itself, where no SRV record leads to a server.
    plain: Transport,
    asked: Vec<String>,
}

#[derive(Debug)]
enum Step {
    Naptr,
    Srv(Transport, String),
    /// The hosts of a service, those before `at` are answered.
    Hosts {
        transport: Transport,
        hosts: Vec<(String, u16)>,
        at: usize,
        servers: Vec<SocketAddr>,
        /// One of them got no answer.
        unanswered: bool,
        /// The host of the URI itself, by no record: what everything else falls back to.
        last: bool,
    },
    Over(Result<Found, LocateError>),
}

impl Locate {
    /// Begins to look for `target`, by the transports in `spoken`. `random` decides among servers of
    /// one priority by their weight.
    pub fn new(target: &Target, spoken: &[Transport], random: u64) -> Self {
        let mut locate = Self {
            host: target.host.to_string(),
            spoken: spoken.to_vec(),
            secure: target.secure,
            rng: StdRng::seed_from_u64(random),
            step: Step::Naptr,
            services: VecDeque::new(),
            named: false,
            plain: match (target.transport, target.secure) {
                (Some(transport), secure) => secured(transport, secure),
                (None, true) => Transport::Tls,
                (None, false) => Transport::Udp,
            },
            asked: Vec::new(),
        };
        let (plain, port) = (locate.plain, target.port);
        let to = port.unwrap_or_else(|| plain.default_port());
        let is_named =
            target.transport.is_some() || port.is_some() || matches!(target.host, Host::Ip(_));
        if is_named && !spoken.contains(&plain) {
            let (host, transport) = (locate.host.clone(), plain);
            locate.step = Step::Over(Err(LocateError::Transport { host, transport }));
            return locate;
        }
        match &target.host {
            Host::Ip(ip) => {
                locate.step = Step::Over(Ok(Found {
                    transport: plain,
                    servers: vec![SocketAddr::new(*ip, to)],
                }));
            }
            Host::Name(_) if port.is_some() => locate.own_host(to),
            Host::Name(_) if target.transport.is_some() => {
                locate
                    .services
                    .push_back((plain, service(plain, &locate.host)));
                locate.next_service();
            }
            Host::Name(_) => {}
        }
        locate
    }

    /// What is to be asked next; `None`: [`Self::found`] has the result.
    pub fn question(&self) -> Option<Question> {
        match &self.step {
            Step::Naptr => Some(Question::Naptr(self.host.clone())),
            Step::Srv(_, name) => Some(Question::Srv {
                name: name.clone(),
                named: self.named,
            }),
            Step::Hosts {
                hosts, at, last, ..
            } => {
                let (host, _) = hosts.get(*at)?;
                Some(Question::Addresses {
                    name: host.clone(),
                    whole: !last,
                })
            }
            Step::Over(_) => None,
        }
    }

    /// Takes the answer to [`Self::question`]; one to something else counts as empty.
    pub fn answer(&mut self, answer: Answer) {
        match std::mem::replace(&mut self.step, Step::Naptr) {
            Step::Naptr => self.take_naptr(match answer {
                Answer::Naptr(records) => records,
                Answer::Srv(_) | Answer::Addresses(_) => Vec::new(),
            }),
            Step::Srv(transport, name) => {
                let records = match answer {
                    Answer::Srv(records) => records,
                    Answer::Naptr(_) | Answer::Addresses(_) => Vec::new(),
                };
                let hosts = records::ordered(records, &mut self.rng, MOST_RECORDS);
                if hosts.is_empty() {
                    self.asked.push(name);
                    self.next_service();
                } else {
                    self.hosts(transport, hosts, false);
                }
            }
            Step::Hosts {
                transport,
                hosts,
                at,
                mut servers,
                unanswered,
                last,
            } => {
                if let (Answer::Addresses(found), Some((_, port))) = (answer, hosts.get(at)) {
                    for ip in found {
                        let server = SocketAddr::new(ip, *port);
                        if servers.len() < MOST_SERVERS && !servers.contains(&server) {
                            servers.push(server);
                        }
                    }
                }
                self.step = Step::Hosts {
                    transport,
                    hosts,
                    at: at + 1,
                    servers,
                    unanswered,
                    last,
                };
                self.end_service();
            }
            over @ Step::Over(_) => self.step = over,
        }
    }

    /// Goes on without an answer to [`Self::question`], if that is about a host of a service: the
    /// service may have others. It has to, since it would be wrong to take another one for want of
    /// an answer.
    pub fn pass_over(&mut self) {
        if let Step::Hosts { at, unanswered, .. } = &mut self.step {
            *at += 1;
            *unanswered = true;
            self.end_service();
        } else {
            self.give_up();
        }
    }

    /// Ends the search: what has been found of a service is the result.
    pub fn give_up(&mut self) {
        match std::mem::replace(&mut self.step, Step::Naptr) {
            Step::Hosts {
                transport, servers, ..
            } if !servers.is_empty() => {
                self.step = Step::Over(Ok(Found { transport, servers }));
            }
            over @ Step::Over(_) => self.step = over,
            Step::Naptr | Step::Srv(..) | Step::Hosts { .. } => self.fail(),
        }
    }

    /// Ends a service whose hosts have all been asked for.
    fn end_service(&mut self) {
        let Step::Hosts {
            hosts,
            at,
            servers,
            unanswered,
            last,
            ..
        } = &mut self.step
        else {
            return;
        };
        if *at < hosts.len() {
            return;
        }
        let over = !servers.is_empty() || *unanswered || *last;
        let names = std::mem::take(hosts).into_iter().map(|(host, _)| host);
        let names = names.filter(|name| *name != self.host);
        self.asked.extend(names);
        if over {
            self.give_up();
        } else {
            self.next_service();
        }
    }

    /// The result, once there is nothing more to ask.
    pub fn found(&self) -> Option<&Result<Found, LocateError>> {
        match &self.step {
            Step::Over(result) => Some(result),
            Step::Naptr | Step::Srv(..) | Step::Hosts { .. } => None,
        }
    }

    /// RFC 3263 §4.1: the services of the domain that are spoken, else those every domain may have.
    fn take_naptr(&mut self, mut records: Vec<Naptr>) {
        records.sort_by_key(|record| (record.order, record.preference));
        let offered = records.iter().filter_map(|record| {
            let transport = record.transport()?;
            let right = !self.secure || is_secure(transport);
            (right && self.spoken.contains(&transport))
                .then(|| (transport, record.replacement.clone()))
        });
        self.services = offered.take(MOST_SERVICES).collect();
        self.named = !self.services.is_empty();
        if let Some(&(first, _)) = self.services.front() {
            // Nothing goes in the clear to a domain that offers only TLS.
            if !self.services.iter().any(|(by, _)| *by == self.plain) {
                self.plain = first;
            }
        } else {
            let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
            let spoken = all.into_iter().filter(|transport| {
                self.spoken.contains(transport) && (!self.secure || is_secure(*transport))
            });
            self.services = spoken
                .map(|transport| (transport, service(transport, &self.host)))
                .collect();
        }
        self.next_service();
    }

    /// The SRV records of the next service; after the last one, the addresses of the host itself.
    fn next_service(&mut self) {
        if let Some((transport, name)) = self.services.pop_front() {
            self.step = Step::Srv(transport, name);
            return;
        }
        if !self.spoken.contains(&self.plain) {
            self.fail();
            return;
        }
        self.own_host(self.plain.default_port());
    }

    fn own_host(&mut self, port: u16) {
        self.hosts(self.plain, vec![(self.host.clone(), port)], true);
    }

    fn hosts(&mut self, transport: Transport, hosts: Vec<(String, u16)>, last: bool) {
        self.step = Step::Hosts {
            transport,
            hosts,
            at: 0,
            servers: Vec::new(),
            unanswered: false,
            last,
        };
    }

    fn fail(&mut self) {
        let host = self.host.clone();
        let mut asked = std::mem::take(&mut self.asked);
        asked.dedup();
        asked.truncate(MOST_SERVICES);
        self.step = Step::Over(Err(LocateError::NoAddress { host, asked }));
    }
}

fn is_secure(transport: Transport) -> bool {
    matches!(transport, Transport::Tls | Transport::Wss)
}

/// What a transport parameter means with a `sips` URI (RFC 3261 §26.2.2, RFC 7118 §5.2).
fn secured(transport: Transport, secure: bool) -> Transport {
    match (transport, secure) {
        (Transport::Tcp | Transport::Udp, true) => Transport::Tls,
        (Transport::Ws, true) => Transport::Wss,
        (other, _) => other,
    }
}

/// The name of the SRV records of a transport (RFC 3263 §4.1, RFC 7118 §6).
fn service(transport: Transport, domain: &str) -> String {
    let service = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
    };
    format!("{service}.{domain}")
}
