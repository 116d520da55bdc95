//! Composition: sockets, shards, rooms and HTTP, put together, kept in step with the operator's signals, and taken down
//! in order.

mod http;
pub(crate) mod tls;

use crate::addresses;
use crate::lifecycle::{BUILD, Health, Manager, Signal, Signals};
use crate::logs::LogFilter;
use crate::memory;
use crate::rooms::Rooms;
use crate::settings::{KEYS, Loaded, Settings, Sources};
use crate::shard::offload::Offload;
use crate::shard::threads::{self, ShardThreads};
use crate::shard::{ShardEnd, ShardHandle, ShardSetup, route, tcp, udp};
use axum::Router;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use sfu_engine::ids::ShardId;
use sfu_engine::sdp::CandidateAddress;
use sfu_engine::transport::dtls::DtlsCertificate;
use sfu_engine::units::Bitrate;
use sfu_engine::{EngineConfig, Protocol, WallClock};
use signaling::auth::Authority;
use signaling::webhooks::Webhooks;
use stats::{ControlPlane, Registry, SluiceCollector};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tls::{Certificate, TlsError};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Why the server does not run, with what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(
        "cannot listen on http://{address}: {source}\nIs another server running there? Choose another address with --{flag} ADDRESS:PORT."
    )]
    Http { address: SocketAddr, flag: &'static str, source: io::Error },
    #[error(transparent)]
    Https(#[from] TlsError),
    #[error(
        "cannot take media on {address}: {source}\nIs another server running there? Choose another port with --media-port 7883."
    )]
    Media { address: SocketAddr, source: io::Error },
    #[error("no address to take media on; set media.listen or --media-listen")]
    NoMediaAddress,
    #[error("webhooks: {0}\nSee webhooks.urls in the settings.")]
    Webhooks(#[from] signaling::webhooks::BadUrl),
    #[error("cannot make a DTLS certificate: {0}")]
    Certificate(String),
    #[error("cannot register the metrics: {0}")]
    Metrics(String),
    #[error("cannot start a media thread: {0}")]
    Thread(io::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    #[error(
        "media thread {shard} ended: {end}\nThis is a bug or a machine that is far too slow; calls on this server are over."
    )]
    Shard { shard: usize, end: ShardEnd },
    #[error("a task of the control plane ended: {0:?}\nThis is a bug; calls on this server are over.")]
    ControlPlane(io::Result<()>),
}

/// While stopping: for what is said over signaling to leave.
const GOODBYE: Duration = Duration::from_millis(100);
/// While stopping: for the shards to end.
const SHARD_GOODBYE: Duration = Duration::from_millis(200);

/// Runs the server until a signal or a failure ends it.
pub(crate) async fn run(sources: Sources, loaded: Loaded, log: LogFilter) -> Result<(), ServerError> {
    let mut signals = Signals::new().map_err(ServerError::Signals)?;
    let settings = loaded.settings;
    let http = listen(settings.http.listen, "http").await?;
    let admin = listen(settings.admin_listen(), "admin").await?;

    let media = bind_media(&settings).await?;
    let addresses = addresses::find(&settings, &media.bound).await;
    let candidates = addresses::candidates(&addresses.ips, &media.bound, settings.media.tcp);
    let certificate = certificate(&settings, &addresses.ips)?;
    let (mut threads, shards, events) = start_shards(&settings, media.sockets, &candidates)?;
    let control = Arc::new(ControlPlane::default());
    let webhooks = Webhooks::start(settings.webhook_config(), control.clone())?;
    let rooms = Rooms::new(shards.clone(), &settings, webhooks, control.clone());
    let authority = Arc::new(Authority::new(settings.policy(), control.clone()));
    let health = Health::new(addresses.problems.clone(), control.clone());

    let mut tasks = JoinSet::new();
    let taking = rooms.clone().take_events(events);
    tasks.spawn(async move {
        taking.await;
        Ok(())
    });
    let strangers = tcp::Strangers::default();
    for listener in media.listeners {
        let inboxes = shards.iter().map(ShardHandle::inbox).collect();
        let accepting = tcp::accept(listener, strangers.clone(), inboxes);
        tasks.spawn(async move {
            accepting.await;
            Ok(())
        });
    }
    announce(&settings, &http, &admin, &candidates, certificate.as_ref());
    for warning in addresses.problems.iter().chain(&addresses.warnings) {
        tracing::warn!("{warning}");
    }
    let public = http::public(rooms.clone(), authority.clone(), &settings, control.clone(), health.clone());
    tasks.spawn(serve(http, public, certificate.as_ref().map(|certificate| certificate.config.clone())));
    tasks.spawn(serve(
        admin,
        http::admin(rooms.clone(), authority.clone(), registry(control.clone(), &shards)?, control, health.clone()),
        None,
    ));

    let mut service = Service { sources, settings, authority, certificate, log, manager: Manager::new() };
    service.manager.ready();
    let ended = async {
        tokio::select! {
            (shard, end) = threads.ended() => ServerError::Shard { shard, end },
            Some(ended) = tasks.join_next() => ServerError::ControlPlane(ended.map_err(io::Error::other).flatten()),
        }
    };
    let outcome = tokio::select! {
        error = ended => Err(error),
        () = service.operate(&mut signals, &rooms, &health) => Ok(()),
    };
    service.manager.stopping();
    tokio::select! {
        () = stop(&rooms, threads) => {}
        // Who asks twice does not want to wait.
        () = signals.stop() => {}
    }
    outcome
}

/// What the operator can change while the server runs.
struct Service {
    sources: Sources,
    settings: Settings,
    authority: Arc<Authority>,
    certificate: Option<Certificate>,
    log: LogFilter,
    manager: Manager,
}

impl Service {
    /// Follows signals until the server shall end.
    async fn operate(&mut self, signals: &mut Signals, rooms: &Rooms, health: &Health) {
        let mut look = tokio::time::interval(tls::LOOK_INTERVAL);
        let mut tidy = tokio::time::interval(memory::INTERVAL);
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Reload => self.reload(rooms),
                    Signal::Stop => return,
                    Signal::Drain => return self.drain(signals, rooms, health).await,
                },
                _ = look.tick() => if let Some(certificate) = &mut self.certificate { certificate.refresh(false) },
                _ = tidy.tick() => memory::give_back(),
                () = self.manager.pat_watchdog() => {}
            }
        }
    }

    /// Lets calls go on until the last one or the deadline ends, or a second signal.
    async fn drain(&mut self, signals: &mut Signals, rooms: &Rooms, health: &Health) {
        let deadline = Duration::from_secs(self.settings.shutdown.drain_seconds);
        health.drain();
        self.manager.stopping();
        rooms.drain(deadline);
        tracing::info!(
            seconds = deadline.as_secs(),
            "draining: no new rooms, ready no more; another signal ends calls at once"
        );
        let empty = async {
            let mut look = tokio::time::interval(DRAIN_LOOK_INTERVAL);
            while !rooms.is_empty() {
                look.tick().await;
            }
        };
        tokio::select! {
            () = signals.stop() => tracing::info!("a second signal: ending calls"),
            () = tokio::time::sleep(deadline) => tracing::info!("the time is over: ending calls"),
            () = empty => tracing::info!("all calls are over"),
            () = self.manager.pat_watchdog() => {}
        }
    }

    /// Reads the settings again. Where something is wrong with them, all stays as it is.
    fn reload(&mut self, rooms: &Rooms) {
        self.manager.reloading();
        match self.sources.load() {
            Ok(Loaded { settings, .. }) => {
                self.authority.replace(settings.policy());
                rooms.replace_ice_servers(settings.ice_servers().unwrap_or_default());
                self.log.replace(&settings);
                if let Some(certificate) = &mut self.certificate {
                    certificate.refresh(true);
                }
                for key in KEYS.iter().filter(|key| !(key.same)(&self.settings, &settings)) {
                    match key.live {
                        true => tracing::info!(key = key.name, "changed"),
                        false => tracing::warn!(key = key.name, "changed in the settings, but this needs a restart"),
                    }
                }
                let in_use = std::mem::replace(&mut self.settings, settings);
                // What needs a restart is compared with what is in use the next time too.
                self.settings.keep_fixed(&in_use);
                tracing::info!("settings read again");
            }
            Err(problems) => tracing::error!("nothing changed: {problems}"),
        }
        self.manager.ready();
    }
}

/// The head of an HTTP request must have come so long after the connection began, or after the request before.
const HEADERS_WITHIN: Duration = Duration::from_secs(20);
/// While draining: how often is looked whether somebody is left.
const DRAIN_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Tells everybody: first by signaling, so that clients know why, then by DTLS.
async fn stop(rooms: &Rooms, threads: ShardThreads) {
    rooms.stop();
    tokio::time::sleep(GOODBYE).await;
    threads.stop(SHARD_GOODBYE).await;
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| ServerError::Http { address, flag, source })
}

/// Serves `routes` for ever. Messages leave at once: by Nagle's algorithm one that follows another waits until the
/// client acknowledges the first, which clients put off for 40 ms.
async fn serve(listener: TcpListener, routes: Router, certificate: Option<RustlsConfig>) -> io::Result<()> {
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    let mut server = axum_server::from_tcp(listener.into_std()?)?.acceptor(NoDelayAcceptor);
    // Whoever is slower holds a connection, which is a file descriptor, and says nothing.
    let http = server.http_builder();
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    http.http2().timer(TokioTimer::new()).keep_alive_interval(HEADERS_WITHIN).keep_alive_timeout(HEADERS_WITHIN);
    match certificate {
        Some(certificate) => {
            server.map(|at_once| RustlsAcceptor::new(certificate).acceptor(at_once)).serve(routes).await
        }
        None => server.serve(routes).await,
    }
}

fn certificate(settings: &Settings, ips: &[IpAddr]) -> Result<Option<Certificate>, ServerError> {
    let https = &settings.https;
    match (&https.certificate, &https.key) {
        (Some(certificate), Some(key)) => Ok(Some(Certificate::from_files(certificate, key)?)),
        _ if https.self_signed => {
            let names = tls::names(&https.names, ips, settings.http.listen.ip());
            Ok(Some(Certificate::self_signed(names)?))
        }
        _ => Ok(None),
    }
}

fn registry(control: Arc<ControlPlane>, shards: &[ShardHandle]) -> Result<Registry, ServerError> {
    let registry = Registry::new();
    let collector = SluiceCollector::new(BUILD, control, shards.iter().map(ShardHandle::stats).collect());
    let registered = collector.and_then(|collector| registry.register(Box::new(collector)));
    #[cfg(target_os = "linux")]
    let registered = registered.and_then(|()| registry.register(Box::new(stats::ProcessCollector::for_self())));
    registered.map_err(|error| ServerError::Metrics(error.to_string()))?;
    Ok(registry)
}

/// The media port's sockets.
pub(crate) struct Media {
    /// For each shard its UDP sockets.
    pub(crate) sockets: Vec<Vec<std::net::UdpSocket>>,
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) bound: Vec<SocketAddr>,
}

/// How often a free port is looked for that UDP and TCP can both have.
const FREE_PORT_ATTEMPTS: usize = 16;

pub(crate) async fn bind_media(settings: &Settings) -> Result<Media, ServerError> {
    let attempts = if settings.media.port == 0 { FREE_PORT_ATTEMPTS } else { 1 };
    let mut result = Err(ServerError::NoMediaAddress);
    for _ in 0..attempts {
        result = try_bind_media(settings).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

async fn try_bind_media(settings: &Settings) -> Result<Media, ServerError> {
    let mut media = Media { sockets: Vec::new(), listeners: Vec::new(), bound: Vec::new() };
    media.sockets.resize_with(settings.shards(), Vec::new);
    let mut port = settings.media.port;
    for ip in &settings.media.listen {
        let address = SocketAddr::new(*ip, port);
        let failed = |source| ServerError::Media { address, source };
        port = match udp::free_port(address) {
            Ok(port) => port,
            // A machine without IPv6 is no reason not to start by default.
            Err(error) if ip.is_ipv6() && ip.is_unspecified() && lacks_family(&error) => continue,
            Err(source) => return Err(failed(source)),
        };
        let address = SocketAddr::new(*ip, port);
        for shard in &mut media.sockets {
            shard.push(udp::bind(address).map_err(failed)?);
        }
        if settings.media.tcp {
            media.listeners.push(tcp::listen(address).map_err(failed)?);
        }
        media.bound.push(address);
    }
    if media.bound.is_empty() { Err(ServerError::NoMediaAddress) } else { Ok(media) }
}

/// Whether an address cannot be bound because the machine does not speak its protocol at all.
fn lacks_family(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, PermissionDenied};
    !matches!(error.kind(), AddrInUse | PermissionDenied)
}

type Events = tokio::sync::mpsc::Receiver<sfu_engine::Event>;

fn start_shards(
    settings: &Settings,
    sockets: Vec<Vec<std::net::UdpSocket>>,
    candidates: &[CandidateAddress],
) -> Result<(ShardThreads, Vec<ShardHandle>, Events), ServerError> {
    let provider = sfu_engine::crypto::default_provider().map_err(|e| ServerError::Certificate(e.to_string()))?;
    let certificate = DtlsCertificate::generate(&provider).map_err(|e| ServerError::Certificate(e.to_string()))?;
    let wall_clock = WallClock { at: Instant::now(), unix: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default() };
    let offload = Offload::try_out();
    tracing::info!(
        segments = offload.segments,
        joins = offload.joins,
        "datagrams that cross the kernel as one message (UDP_SEGMENT, UDP_GRO)"
    );
    let setups = sockets.into_iter().enumerate().map(|(index, sockets)| {
        let mut config = EngineConfig::new(candidates.to_vec(), route::prefix(index), wall_clock);
        config.limits.sections_per_offer = settings.limits.sections_per_offer;
        config.limits.tracks_per_participant = settings.limits.tracks_per_participant;
        config.limits.video_slots = settings.limits.video_slots;
        config.limits.preferences = settings.limits.subscriptions;
        config.limits.data_rate = Bitrate::kbps(settings.limits.data_kbps);
        config.max_talkers = settings.limits.talkers;
        config.shard = ShardId(index as u16);
        config.stopwatch = Some(Instant::now);
        ShardSetup {
            config,
            certificate: certificate.clone(),
            provider: provider.clone(),
            sockets,
            segments: offload.segments,
            emulates: settings.dev.emulation,
        }
    });
    threads::start(setups.collect()).map_err(ServerError::Thread)
}

/// Says where to go.
fn announce(
    settings: &Settings,
    http: &TcpListener,
    admin: &TcpListener,
    candidates: &[CandidateAddress],
    certificate: Option<&Certificate>,
) {
    let scheme = if settings.is_https() { "https" } else { "http" };
    let mut text = format!("Sluice {} is running.\n\n", BUILD.version);
    text += &format!("  Open {scheme}://{}/ in two browser tabs for a call.\n", shown(http));
    if let Ok(listening) = http.local_addr()
        && listening.ip().is_unspecified()
    {
        for candidate in candidates.iter().filter(|c| c.protocol == Protocol::Udp && !c.address.ip().is_loopback()) {
            let elsewhere = SocketAddr::new(candidate.address.ip(), listening.port());
            text += &format!("  From elsewhere: {scheme}://{elsewhere}/\n");
        }
    }
    if let Some(fingerprint) = certificate.and_then(|certificate| certificate.fingerprint.as_ref()) {
        text += &format!(
            "  Browsers will warn about its certificate, which is our own. SHA-256 fingerprint:\n    {fingerprint}\n"
        );
    }
    text += if settings.is_open() {
        "  Everybody who reaches it may join.\n"
    } else {
        "  Who joins needs an access token: `sluice token`.\n"
    };
    text += &format!("  Metrics and health: http://{}/metrics, /readyz\n\n  Media is taken at:\n", shown(admin));
    for candidate in candidates {
        text += &format!("    {:4} {}\n", format!("{:?}", candidate.protocol).to_lowercase(), candidate.address);
    }
    text += "
  Behind a NAT or in a container: --advertise PUBLIC_IP. Another port: --media-port PORT. Another page
  address: --http ADDRESS:PORT (browsers allow cameras on localhost or by HTTPS only). Ctrl-C stops.\n";
    // Whoever closed our output does not want to read this.
    let _ = writeln!(io::stdout(), "{text}");
}

/// A listener's address as it can stand in a URL. A wildcard is no address to open; here it means this machine.
fn shown(listener: &TcpListener) -> String {
    match listener.local_addr() {
        Ok(address) if address.ip().is_unspecified() => format!("localhost:{}", address.port()),
        Ok(address) => address.to_string(),
        Err(_) => "?".to_owned(),
    }
}
