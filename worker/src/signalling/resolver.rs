//! Names of SIP, resolved outside the shards: addresses of hosts, and servers by RFC 3263.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use callmeter_engine::{ShareId, Transport};
use callmeter_sip::locate::{self, Answer, Found, Locate, Target};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType, rdata},
    },
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::handle::{ShardHandle, ShardInput};

/// No answer after this counts as none; the engine waits a little longer.
const DEADLINE: Duration = Duration::from_secs(4);
/// The same for all that has to be asked to find a server.
const LOCATE_DEADLINE: Duration = Duration::from_secs(12);
/// One question to one server, which is asked again so often.
const TIMEOUT: Duration = Duration::from_millis(1500);
const ATTEMPTS: usize = 1;
/// Look-ups under way at the same time.
const PARALLEL: usize = 32;
/// Look-ups that may wait for the resolver.
pub(super) const QUEUE: usize = 4096;

/// Something a share needs.
#[derive(Debug)]
pub(super) enum Question {
    /// The address of a host.
    Host { share: ShareId, host: String },
    /// The server of a share that waits for it.
    Server { waiting: u64, target: Target },
}

/// Who is asked.
pub(super) struct Resolver {
    /// Its IP version is wanted.
    own: IpAddr,
    /// Records of every kind; none: the system has no configuration of DNS.
    dns: Option<TokioResolver>,
    /// Hosts that are looked up alone are asked of `dns`, too, not of the system.
    all: bool,
}

/// Why there is no answer to a question.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Dns(#[from] NetError),
    #[error(transparent)]
    System(#[from] io::Error),
    #[error("this host has no DNS server")]
    NoServer,
}

impl Unanswered {
    /// Whether it means that there are no such records: there are servers that do not know the kind.
    /// Anything else may hide records that want TLS; REFUSED, a matter of policy (RFC 1035 §4.1.1),
    /// does so where only one of the system's name servers says it.
    fn is_none(&self, question: &locate::Question) -> bool {
        use ResponseCode::{FormErr, NotImp};
        let Self::Dns(NetError::Dns(DnsError::ResponseCode(code))) = self else {
            return false;
        };
        let foreign = matches!(
            question,
            locate::Question::Naptr(_) | locate::Question::Srv { named: false, .. }
        );
        foreign && matches!(*code, FormErr | NotImp)
    }
}

impl Resolver {
    /// Addresses have the IP version of `own`. With `server` everything is asked there; without, the
    /// system resolves hosts that are looked up alone, and the servers of its `/etc/resolv.conf` are
    /// asked for all that leads to a server. Where there are none the system resolves hosts whose port
    /// is named, which need no records.
    pub(super) fn new(own: IpAddr, server: Option<SocketAddr>) -> io::Result<Self> {
        let builder = match server {
            Some(server) => {
                let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                for connection in &mut connections {
                    connection.port = server.port();
                }
                let server = NameServerConfig::new(server.ip(), true, connections.into());
                let config = ResolverConfig::from_name_servers(vec![server]);
                Ok(TokioResolver::builder_with_config(
                    config,
                    TokioRuntimeProvider::default(),
                ))
            }
            None => TokioResolver::builder_tokio(),
        };
        let built = builder.and_then(|mut builder| {
            let options: &mut ResolverOpts = builder.options_mut();
            options.timeout = TIMEOUT;
            options.attempts = ATTEMPTS;
            // That a name has no address of the other version is no answer to this.
            options.ip_strategy = if own.is_ipv4() {
                LookupIpStrategy::Ipv4Only
            } else {
                LookupIpStrategy::Ipv6Only
            };
            builder.build()
        });
        let dns = match (built, server) {
            (Ok(dns), _) => Some(dns),
            (Err(error), Some(_)) => return Err(io::Error::other(error)),
            (Err(error), None) => {
                tracing::warn!(%error, "no configuration of DNS: transport auto finds no records");
                None
            }
        };
        let all = server.is_some();
        Ok(Self { own, dns, all })
    }

    /// The first address of the wanted IP version in the resolver's order.
    async fn host(&self, host: &str) -> Result<IpAddr, String> {
        let dns = self.dns.as_ref().filter(|_| self.all);
        let found = tokio::time::timeout(DEADLINE, addresses(dns, host, false))
            .await
            .map_err(|_| format!("{host}: no answer within {DEADLINE:?}"))?
            .map_err(|error| format!("{host}: {error}"))?;
        found
            .into_iter()
            .find(|ip| ip.is_ipv4() == self.own.is_ipv4())
            .ok_or_else(|| format!("{host}: no address of the IP version of SIP_IP"))
    }

    /// Where a server is, by NAPTR, SRV and address records.
    async fn server(&self, target: &Target) -> Result<Found, String> {
        let deadline = tokio::time::Instant::now() + LOCATE_DEADLINE;
        let mut locate = Locate::new(target, &Transport::ALL, rand::random());
        let mut unanswered = None;
        while let Some(question) = locate.question() {
            let name = question.name();
            let reason = match tokio::time::timeout_at(deadline, self.ask(&question)).await {
                Ok(Ok(answer)) => {
                    locate.answer(answer);
                    continue;
                }
                Ok(Err(error)) => format!("{name}: {error}"),
                Err(_) => {
                    locate.give_up();
                    format!("{name}: not found within {LOCATE_DEADLINE:?}")
                }
            };
            locate.pass_over();
            tracing::warn!(reason, "no answer to what leads to a SIP server");
            unanswered.get_or_insert(reason);
        }
        let found = locate.found().ok_or("the search came to no end")?;
        found.clone().map_err(|error| match unanswered {
            Some(reason) => format!("{error}; {reason}"),
            None => error.to_string(),
        })
    }

    async fn ask(&self, question: &locate::Question) -> Result<Answer, Unanswered> {
        let dns = self.dns.as_ref();
        let or_none = |records: Result<Vec<RData>, Unanswered>| match records {
            Err(error) if error.is_none(question) => {
                let name = question.name();
                tracing::warn!(name, %error, "the DNS server does not know this kind of record");
                Ok(Vec::new())
            }
            other => other,
        };
        Ok(match question {
            locate::Question::Naptr(name) => {
                let records = or_none(records(dns, name, RecordType::NAPTR).await)?;
                Answer::Naptr(records.iter().filter_map(naptr).collect())
            }
            locate::Question::Srv { name, .. } => {
                let records = or_none(records(dns, name, RecordType::SRV).await)?;
                Answer::Srv(records.iter().filter_map(srv).collect())
            }
            locate::Question::Addresses { name, whole } => {
                let mut found = addresses(dns, name, *whole).await?;
                found.retain(|ip| ip.is_ipv4() == self.own.is_ipv4());
                Answer::Addresses(found)
            }
        })
    }
}

/// Answers questions until their queue closes.
pub(super) async fn run(
    mut questions: mpsc::Receiver<Question>,
    shard: ShardHandle,
    resolver: Resolver,
) {
    let resolver = Arc::new(resolver);
    let slots = Arc::new(Semaphore::new(PARALLEL));
    let mut tasks = JoinSet::new();
    while let Some(question) = questions.recv().await {
        while tasks.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (shard, resolver) = (shard.clone(), Arc::clone(&resolver));
        tasks.spawn(async move {
            let input = match question {
                Question::Host { share, host } => {
                    let found = resolver.host(&host).await;
                    if let Err(reason) = &found {
                        tracing::warn!(host, reason, "name not resolved");
                    }
                    ShardInput::Resolved { share, host, found }
                }
                Question::Server { waiting, target } => {
                    let begun = Instant::now();
                    let found = resolver.server(&target).await;
                    let took = begun.elapsed();
                    ShardInput::Located {
                        waiting,
                        found,
                        took,
                    }
                }
            };
            shard.send(input).await;
            drop(slot);
        });
    }
}

/// Records of one type; none if the name has no such.
async fn records(
    dns: Option<&TokioResolver>,
    name: &str,
    kind: RecordType,
) -> Result<Vec<RData>, Unanswered> {
    let dns = dns.ok_or(Unanswered::NoServer)?;
    // The domain of a URI is a whole name, whatever the search list says.
    match dns.lookup(asked(name, true)?, kind).await {
        Ok(found) => Ok(found
            .answers()
            .iter()
            .map(|record| record.data.clone())
            .collect()),
        Err(error) if is_empty(&error) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Addresses of a name, `/etc/hosts` first; without `dns` the system is asked.
async fn addresses(
    dns: Option<&TokioResolver>,
    name: &str,
    whole: bool,
) -> Result<Vec<IpAddr>, Unanswered> {
    let Some(dns) = dns else {
        let found = tokio::net::lookup_host((name, 0)).await?;
        return Ok(found.map(|address| address.ip()).collect());
    };
    // Some SRV records name an address, which is no name to ask for.
    if let Ok(ip) = name.parse() {
        return Ok(vec![ip]);
    }
    match dns.lookup_ip(asked(name, whole)?).await {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) if is_empty(&error) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// The name of a question; one that is not whole may be completed from the search list.
fn asked(name: &str, whole: bool) -> Result<Name, NetError> {
    let mut name = Name::from_utf8(name)?;
    if whole {
        name.set_fqdn(true);
    }
    Ok(name)
}

fn is_empty(error: &NetError) -> bool {
    error.is_nx_domain() || error.is_no_records_found()
}

fn naptr(data: &RData) -> Option<locate::Naptr> {
    let RData::NAPTR(rdata::NAPTR {
        order,
        preference,
        flags,
        services,
        replacement,
        ..
    }) = data
    else {
        return None;
    };
    Some(locate::Naptr {
        order: *order,
        preference: *preference,
        flags: String::from_utf8_lossy(flags).into_owned(),
        services: String::from_utf8_lossy(services).into_owned(),
        replacement: plain(replacement),
    })
}

fn srv(data: &RData) -> Option<locate::Srv> {
    let RData::SRV(rdata::SRV {
        priority,
        weight,
        port,
        target,
        ..
    }) = data
    else {
        return None;
    };
    Some(locate::Srv {
        priority: *priority,
        weight: *weight,
        port: *port,
        target: plain(target),
    })
}

/// A name without the dot of the root.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str) -> Target {
        let uri: callmeter_sip::Uri = format!("sip:{host}").parse().unwrap();
        Target {
            host: uri.host().clone(),
            port: None,
            transport: None,
            secure: false,
        }
    }

    /// RFC 2782
    #[test]
    fn names_of_records_are_asked_for_without_the_search_list() {
        assert!(asked("one.pbx.example", true).unwrap().is_fqdn());
        assert!(asked("one.pbx.example.", true).unwrap().is_fqdn());
        assert!(!asked("pbx", false).unwrap().is_fqdn());
    }

    /// Records may say what the system does not: it is not taken for an answer.
    #[tokio::test]
    async fn without_a_dns_server_nothing_is_searched_for() {
        let resolver = Resolver {
            own: "127.0.0.1".parse().unwrap(),
            dns: None,
            all: false,
        };
        let reason = resolver.server(&target("localhost")).await.unwrap_err();
        assert!(
            reason.starts_with("localhost: no address found"),
            "{reason}"
        );
        assert!(reason.ends_with("this host has no DNS server"), "{reason}");
        let host = resolver.host("localhost").await.unwrap();
        assert!(host.is_loopback());
        // With a port there is nothing that records could say.
        let target = Target {
            port: Some(5070),
            ..target("localhost")
        };
        let found = resolver.server(&target);
        let at = vec!["127.0.0.1:5070".parse().unwrap()];
        assert_eq!(found.await.unwrap().servers, at);
    }
}
