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
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, RecordType, rdata},
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
/// One question to one server, which is asked [`ATTEMPTS`] times.
const TIMEOUT: Duration = Duration::from_millis(1500);
const ATTEMPTS: usize = 2;
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
    /// Hosts are asked of `dns`, too, not of the system.
    all: bool,
}

impl Resolver {
    /// Addresses have the IP version of `own`. With `server` everything is asked there; without, the
    /// system resolves hosts, and the servers of its `/etc/resolv.conf` are asked for other records.
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
            builder.build()
        });
        let dns = match (built, server) {
            (Ok(dns), _) => Some(dns),
            (Err(error), Some(_)) => return Err(io::Error::other(error)),
            (Err(error), None) => {
                tracing::warn!(%error, "no configuration of DNS: transport auto finds no server");
                None
            }
        };
        let all = server.is_some();
        Ok(Self { own, dns, all })
    }

    /// The first address of the wanted IP version in the resolver's order.
    async fn host(&self, host: &str) -> Result<IpAddr, String> {
        let looked_up = async {
            if let (Some(dns), true) = (&self.dns, self.all) {
                return self.addresses(dns, host).await;
            }
            let found = tokio::net::lookup_host((host, 0)).await;
            let found = found.map_err(|error| error.to_string())?;
            Ok(found.map(|address| address.ip()).collect())
        };
        let found: Vec<IpAddr> = tokio::time::timeout(DEADLINE, looked_up)
            .await
            .map_err(|_| format!("{host}: no answer within {DEADLINE:?}"))?
            .map_err(|error: String| format!("{host}: {error}"))?;
        found
            .into_iter()
            .find(|ip| ip.is_ipv4() == self.own.is_ipv4())
            .ok_or_else(|| format!("{host}: no address of the IP version of SIP_IP"))
    }

    /// Where a server is, by NAPTR, SRV and address records.
    async fn server(&self, target: &Target) -> Result<Found, String> {
        let host = &target.host;
        let located = async {
            let mut locate = Locate::new(target, &Transport::ALL, rand::random());
            while let Some(question) = locate.question() {
                let dns = self.dns.as_ref().ok_or("this host has no DNS server")?;
                locate.answer(self.ask(dns, question).await?);
            }
            let found = locate.found().ok_or("the search came to no end")?;
            found.clone().map_err(|error| error.to_string())
        };
        tokio::time::timeout(LOCATE_DEADLINE, located)
            .await
            .map_err(|_| format!("{host}: not found within {LOCATE_DEADLINE:?}"))?
    }

    async fn ask(&self, dns: &TokioResolver, question: locate::Question) -> Result<Answer, String> {
        Ok(match question {
            locate::Question::Naptr(name) => {
                let records = records(dns, &name, RecordType::NAPTR).await?;
                Answer::Naptr(records.iter().filter_map(naptr).collect())
            }
            locate::Question::Srv(name) => {
                let records = records(dns, &name, RecordType::SRV).await?;
                Answer::Srv(records.iter().filter_map(srv).collect())
            }
            locate::Question::Addresses(name) => {
                let mut found = self.addresses(dns, &name).await?;
                found.retain(|ip| ip.is_ipv4() == self.own.is_ipv4());
                Answer::Addresses(found)
            }
        })
    }

    /// Addresses of a name, `/etc/hosts` first.
    async fn addresses(&self, dns: &TokioResolver, name: &str) -> Result<Vec<IpAddr>, String> {
        match dns.lookup_ip(name).await {
            Ok(found) => Ok(found.iter().collect()),
            Err(error) if is_empty(&error) => Ok(Vec::new()),
            Err(error) => Err(format!("{name}: {error}")),
        }
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
async fn records(dns: &TokioResolver, name: &str, kind: RecordType) -> Result<Vec<RData>, String> {
    let named = |error: &dyn std::fmt::Display| format!("{name}: {error}");
    let mut asked = Name::from_utf8(name).map_err(|error| named(&error))?;
    // The domain of a URI is a whole name, whatever the search list says.
    asked.set_fqdn(true);
    match dns.lookup(asked, kind).await {
        Ok(found) => Ok(found
            .answers()
            .iter()
            .map(|record| record.data.clone())
            .collect()),
        Err(error) if is_empty(&error) => Ok(Vec::new()),
        Err(error) => Err(named(&error)),
    }
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
