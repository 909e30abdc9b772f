//! Starts the parts and waits for the first of them to end.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use callmeter_metrics::CATALOGUE_VERSION;
use callmeter_proto::worker::{Hello, PortRange as ProtoRange};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::Failure;
use crate::{
    config::{Addresses, Config, ConfigError, GatewayAddress, PortRange, detect_outbound},
    control::{Control, Dialer, Exit, Identity, Parts, Session},
    health::{self, Health, HealthServer},
    media::{MediaClient, MediaConfig, MediaPool, Wake},
    signalling::{self, Waker},
    sys::{limits, thread},
    telemetry::Telemetry,
    vitals::{Sources, Vitals},
};

/// How long the gateway's name may take while the own address is looked for.
const LOOKUP_WAIT: Duration = Duration::from_secs(5);
/// R27: below this many endpoints the port range is worth a warning at the start.
const FEW_ENDPOINTS: u32 = 100;

/// Runs the worker until it has drained or its token is refused.
pub(super) fn run(config: Config) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .on_thread_start(step_back)
        .enable_all()
        .build()
        .map_err(|error| Failure::Part(format!("threads could not be started: {error}")))?;
    let exit = runtime.block_on(serve(config));
    // What still runs belongs to nobody any more.
    runtime.shutdown_background();
    exit
}

async fn serve(config: Config) -> Result<Exit, Failure> {
    let now = Instant::now();
    // An error means that it is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let addresses = addresses(&config).await?;
    let ca_pem = config.ca_file.as_deref().map(read_ca).transpose()?;
    let part =
        |what: &str, error: &dyn std::fmt::Display| Failure::Part(format!("{what}: {error}"));

    let health = Arc::new(Health::new(now));
    let telemetry = Arc::new(Telemetry::new().map_err(|error| part("metrics", &error))?);
    let listener = health::bind(config.health_port).await.map_err(|error| {
        let port = config.health_port;
        Failure::Part(format!(
            "HEALTH_PORT {port} cannot be opened ({error}); accepted: a free port"
        ))
    })?;

    let files = limits::raise_open_files().map_err(|error| part("limit of open files", &error))?;
    let own_capacity = config.endpoints_by_ports().min(endpoints_by_files(files));

    let waker = Waker::new().map_err(|error| part("signalling", &error))?;
    let (media, mut clients) =
        start_media(&config, addresses, waker.clone()).map_err(|error| part("media", &error))?;
    let client = clients.pop().ok_or_else(|| part("media", &"no client"))?;
    let settings = signalling::Settings {
        addresses,
        sip_ports: config.sip_ports,
        dns_server: config.sip_dns_server,
    };
    let signalling::Signalling {
        shard,
        reports,
        stats,
        mut failed,
    } = signalling::start(settings, &health, client, waker)
        .map_err(|error| part("signalling", &error))?;
    announce(&config, addresses, own_capacity);

    let identity = Identity::new(rand::random(), hello(&config, own_capacity));
    tracing::info!(
        instance = hex::encode(identity.instance),
        "process instance"
    );
    let dialer = Dialer::new(&config.gateway, config.token.clone(), ca_pem)
        .map_err(|error| part("CLOUD_URL", &error))?;
    // The media threads have started and keep their precedence.
    step_back();
    let control = Control::new(
        now,
        Parts {
            session: Session::new(now, identity, config.drain_timeout, CATALOGUE_VERSION),
            dialer,
            shards: shard.clone(),
            reports,
            signals: signals().map_err(|error| part("signals", &error))?,
            vitals: Vitals::new(
                now,
                Sources {
                    health: Arc::clone(&health),
                    media,
                    rtp: (addresses.media, config.rtp_ports),
                    signalling: stats,
                    shard,
                },
            ),
            health: Arc::clone(&health),
            telemetry: Arc::clone(&telemetry),
            own_capacity,
        },
    );
    tokio::select! {
        exit = control.run() => Ok(exit),
        ended = HealthServer::new(health, telemetry).run(listener) => {
            Err(part("the health server ended", &ended.err().map_or_else(String::new, |e| e.to_string())))
        }
        Some(reason) = failed.recv() => Err(part("signalling ended", &reason)),
    }
}

/// Packets go before what this thread does.
fn step_back() {
    if let Err(error) = thread::step_back() {
        tracing::debug!(%error, "this thread competes with the media threads");
    }
}

fn start_media(
    config: &Config,
    addresses: Addresses,
    waker: Waker,
) -> std::io::Result<(MediaPool, Vec<MediaClient>)> {
    let ports = (config.rtp_ports.first, config.rtp_ports.last);
    let media = MediaConfig::new(addresses.media, ports, rand::random());
    let wake: Wake = Arc::new(move || waker.wake());
    MediaPool::start(&media, &[wake])
}

/// Audio endpoints that a number of open files holds: two sockets each, and what the process needs
/// for itself.
fn endpoints_by_files(files: u64) -> u32 {
    const OWN: u64 = 128;
    u32::try_from(files.saturating_sub(OWN) / 2).unwrap_or(u32::MAX)
}

/// The addresses in use; the outbound one is looked for if none is given.
async fn addresses(config: &Config) -> Result<Addresses, Failure> {
    let detected = match config.addresses.sip {
        Some(address) => address,
        None => detect(&config.gateway).await?,
    };
    let addresses = Addresses::resolve(config.addresses, detected)?;
    for (variable, address) in [("SIP_IP", addresses.sip), ("MEDIA_IP", addresses.media)] {
        check_local(variable, address)?;
    }
    Ok(addresses)
}

/// The address this host would use towards the gateway.
async fn detect(gateway: &GatewayAddress) -> Result<IpAddr, Failure> {
    let name = (gateway.host.as_str(), gateway.port);
    let found = tokio::time::timeout(LOOKUP_WAIT, tokio::net::lookup_host(name)).await;
    let gateway: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        // The name may become known later; the default route answers as well.
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    detect_outbound(&gateway).map_err(|error| Failure::Environment(error.to_string()))
}

fn check_local(variable: &'static str, address: IpAddr) -> Result<(), ConfigError> {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(()),
        Err(error) => Err(ConfigError {
            variable,
            problem: format!("cannot be bound: {address} ({error})"),
            accepted: "an address of this host",
        }),
    }
}

fn read_ca(path: &std::path::Path) -> Result<Vec<u8>, ConfigError> {
    let error = |problem: String| ConfigError {
        variable: "CLOUD_CA_FILE",
        problem,
        accepted: "a readable PEM file with at least one certificate",
    };
    let pem = std::fs::read(path).map_err(|e| error(format!("cannot be read ({e})")))?;
    let mut trusted = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate
            .ok()
            .and_then(|certificate| trusted.add(certificate).ok())
            .ok_or_else(|| error("holds a certificate that cannot be read".into()))?;
    }
    if trusted.is_empty() {
        return Err(error("holds no certificate".into()));
    }
    Ok(pem)
}

fn hello(config: &Config, capacity: u32) -> Hello {
    let range = |range: PortRange| ProtoRange {
        first: range.first.into(),
        last: range.last.into(),
    };
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Hello {
        name: config.name.clone().unwrap_or_default(),
        capacity,
        codecs: ["pcma", "pcmu"].map(Into::into).into(),
        transports: ["udp", "tcp", "tls", "ws", "wss"].map(Into::into).into(),
        sip_ports: Some(range(config.sip_ports)),
        rtp_ports: Some(range(config.rtp_ports)),
        host: Some(Identity::host(&config.pod, hostname.trim().to_owned())),
        labels: config.labels.clone().into_iter().collect(),
        ..Hello::default()
    }
}

fn announce(config: &Config, addresses: Addresses, capacity: u32) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        gateway = %config.gateway,
        sip_ip = %addresses.sip,
        media_ip = %addresses.media,
        sdp_ip = %addresses.sdp,
        external_ip = %addresses.external,
        sip_ports = %config.sip_ports,
        rtp_ports = %config.rtp_ports,
        health_port = config.health_port,
        capacity,
        "worker started"
    );
    // The operator cuts the range for the pool's capacity: there is nothing to wonder about.
    if capacity < FEW_ENDPOINTS && config.pod.uid.is_empty() {
        tracing::warn!(
            capacity,
            ports = %config.rtp_ports,
            "RTP_PORT_MIN to RTP_PORT_MAX and the limit of open files hold {capacity} audio \
             endpoints; 100 endpoints need 200 ports"
        );
    }
}

/// SIGTERM and SIGINT by name.
fn signals() -> std::io::Result<mpsc::Receiver<&'static str>> {
    let (sender, receiver) = mpsc::channel(4);
    let kinds = [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
    ];
    for (kind, name) in kinds {
        let mut stream = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() && sender.send(name).await.is_ok() {}
        });
    }
    Ok(receiver)
}
