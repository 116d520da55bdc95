//! Renders all shards' snapshots and the control plane's counters as the metrics of the catalogue.
//!
//! Runs when somebody asks for `/metrics`, on the control plane's threads. Series of several shards are summed, except
//! those with a `shard` label.

use crate::catalogue::{Id, Kind};
use crate::control::{ControlPlane, Role};
use crate::distribution::Distribution;
use crate::snapshot::{PerDirection, PerFamily, PerKind, ShardSlot, ShardSnapshot};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The `Content-Type` of what [`render`] returns.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Prometheus' text format of everything in `registry`.
pub fn render(registry: &Registry) -> String {
    // The encoder fails only on a family without name or series, and the registry hands out none.
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default()
}

/// What is running, for `sluice_build_info`.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Release, for instance `0.1.0`.
    pub version: &'static str,
    /// Git commit, or `unknown`.
    pub commit: &'static str,
}

/// All of Sluice's metrics as one collector.
pub struct SluiceCollector {
    build: Build,
    control: Arc<ControlPlane>,
    shards: Vec<Arc<ShardSlot>>,
    descriptions: Vec<Desc>,
}

impl SluiceCollector {
    /// A collector over `shards`, numbered by their place. Fails where the catalogue breaks a rule of Prometheus.
    pub fn new(build: Build, control: Arc<ControlPlane>, shards: Vec<Arc<ShardSlot>>) -> prometheus::Result<Self> {
        let descriptions = Id::ALL.iter().map(|id| describe(*id)).collect::<prometheus::Result<_>>()?;
        Ok(SluiceCollector { build, control, shards, descriptions })
    }
}

impl Collector for SluiceCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut series = Series::default();
        series.add(Id::BuildInfo, &[self.build.version, self.build.commit], 1.0);
        add_control_plane(&mut series, &self.control);
        for (number, shard) in self.shards.iter().enumerate() {
            add_shard(&mut series, &number.to_string(), &shard.latest());
        }
        series.into_families()
    }
}

fn describe(id: Id) -> prometheus::Result<Desc> {
    let metric = id.metric();
    let labels = metric.labels.iter().map(|(name, _)| (*name).to_owned()).collect();
    Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, Default::default())
}

fn add_control_plane(series: &mut Series, control: &ControlPlane) {
    series.count(Id::Ready, &[], control.ready.get());
    series.count(Id::Draining, &[], control.draining.get());
    series.count(Id::Rooms, &[], control.rooms.get());
    for role in Role::ALL {
        series.count(Id::Participants, &[role.label()], control.participants.of(role).get());
    }
    series.count(Id::WebsocketSessions, &[], control.websocket_sessions.get());
    series.count(Id::HttpSessions, &[], control.http_sessions.get());
    for (outcome, count) in control.joins.all() {
        series.count(Id::Joins, &[outcome], count);
    }
    for (code, count) in control.signaling_errors.all() {
        series.count(Id::SignalingErrors, &[code], count);
    }
    for (reason, count) in control.auth_failures.all() {
        series.count(Id::AuthFailures, &[reason], count);
    }
    series.distribution(Id::RoomSize, &[], &control.room_sizes.get());
    series.distribution(Id::QualityScore, &[], &control.quality_scores.get());
    for ((route, method, status), distribution) in control.http.all() {
        series.distribution(Id::HttpRequestDuration, &[&route, method, &status.to_string()], &distribution);
    }
    for outcome in WEBHOOK_OUTCOMES {
        series.count(Id::WebhookDeliveries, &[outcome], control.webhook_deliveries.get(outcome));
    }
}

/// Served from the start, so that a rate is known when the first delivery fails.
const WEBHOOK_OUTCOMES: [&str; 5] = ["delivered", "retried", "refused", "given_up", "dropped"];

fn add_shard(series: &mut Series, shard: &str, snapshot: &ShardSnapshot) {
    let tracks = &snapshot.tracks;
    series.count(Id::Tracks, &["video", "camera"], tracks.camera);
    series.count(Id::Tracks, &["audio", "microphone"], tracks.microphone);
    series.count(Id::Tracks, &["video", "screen"], tracks.screen);
    series.count(Id::Tracks, &["audio", "screen_audio"], tracks.screen_audio);
    for (kind, of_kind) in kinds(&snapshot.subscriptions) {
        series.count(Id::Subscriptions, &[kind, "active"], of_kind.active);
        series.count(Id::Subscriptions, &[kind, "starting"], of_kind.starting);
        series.count(Id::Subscriptions, &[kind, "starved"], of_kind.starved);
        series.count(Id::Subscriptions, &[kind, "paused"], of_kind.paused);
    }
    for (encoding, subscriptions) in snapshot.encodings.iter().enumerate() {
        series.count(Id::SubscriptionEncodings, &[&encoding.to_string()], *subscriptions);
    }
    series.count(Id::Sharing, &[], snapshot.sharing);
    series.count(Id::Repeating, &[], snapshot.repeating);
    series.count(Id::Policed, &[], snapshot.policed);
    let [smallest, none] = snapshot.relieved;
    series.count(Id::Relieved, &["smallest"], smallest);
    series.count(Id::Relieved, &["none"], none);
    series.count(Id::TracksHeldBack, &[], snapshot.held_back);
    for (cause, falls) in &snapshot.shortfalls {
        series.count(Id::Shortfalls, &[cause], *falls);
    }
    series.count(Id::Peers, &["connecting"], snapshot.connections.connecting);
    series.count(Id::Peers, &["connected"], snapshot.connections.connected);
    series.count(Id::Peers, &["lost"], snapshot.connections.lost);

    for (id, by_direction) in [
        (Id::RtpPackets, &snapshot.rtp_packets),
        (Id::RtpBytes, &snapshot.rtp_bytes),
        (Id::RtpPacketsLost, &snapshot.rtp_packets_lost),
    ] {
        for (direction, by_kind) in directions(by_direction) {
            for (kind, value) in kinds(by_kind) {
                series.count(id, &[direction, kind], *value);
            }
        }
    }
    for (id, by_direction) in [
        (Id::RtpRetransmitted, &snapshot.rtp_retransmitted),
        (Id::Nacks, &snapshot.nacks),
        (Id::DataMessages, &snapshot.data_messages),
        (Id::DataBytes, &snapshot.data_bytes),
    ] {
        for (direction, value) in directions(by_direction) {
            series.count(id, &[direction], *value);
        }
    }
    for (kind, by_direction) in &snapshot.rtcp_packets {
        for (direction, packets) in directions(by_direction) {
            series.count(Id::RtcpPackets, &[direction, kind], *packets);
        }
    }
    for (direction, requests) in directions(&snapshot.keyframe_requests) {
        series.count(Id::KeyframeRequests, &[direction, "pli"], requests.pli);
        series.count(Id::KeyframeRequests, &[direction, "fir"], requests.fir);
    }

    for (reason, value) in &snapshot.packets_dropped {
        series.count(Id::PacketsDropped, &[reason], *value);
    }
    for (reason, switches) in &snapshot.layer_switches {
        series.count(Id::LayerSwitches, &["up", reason], switches.up);
        series.count(Id::LayerSwitches, &["down", reason], switches.down);
    }
    for (about, panics) in &snapshot.panics {
        series.count(Id::Panics, &[about], *panics);
    }
    series.count(Id::DtlsHandshakes, &["completed"], snapshot.dtls_completed);
    series.count(Id::DtlsHandshakes, &["failed"], snapshot.dtls_failed);
    for (protocol, PerFamily { ipv4, ipv6 }) in [("udp", snapshot.ice.udp), ("tcp", snapshot.ice.tcp)] {
        series.count(Id::IceResults, &["connected", protocol, "ipv4"], ipv4);
        series.count(Id::IceResults, &["connected", protocol, "ipv6"], ipv6);
    }
    series.count(Id::IceResults, &["failed", "none", "none"], snapshot.ice.failed);
    for (reason, value) in &snapshot.disconnects {
        series.count(Id::Disconnects, &[reason], *value);
    }

    for (direction, calls) in directions(&snapshot.udp.calls) {
        series.count(Id::UdpCalls, &[direction], *calls);
    }
    for (run, datagrams) in [("joined", &snapshot.udp.joined), ("single", &snapshot.udp.single)] {
        for (direction, datagrams) in directions(datagrams) {
            series.count(Id::UdpDatagrams, &[direction, run], *datagrams);
        }
    }
    series.count(Id::UdpReceiveErrors, &[], snapshot.udp.receive_errors);
    series.count(Id::UdpSocketDrops, &[], snapshot.udp.socket_drops);
    series.count(Id::RunPadding, &[], snapshot.run_padding_bytes);
    series.count(Id::RtpProbePackets, &[], snapshot.probe_packets);
    for (outcome, probes) in &snapshot.probes {
        series.count(Id::BandwidthProbes, &[outcome], *probes);
    }
    series.count(Id::CongestionMarks, &[], snapshot.congestion_marks);
    for (direction, packets) in directions(&snapshot.relayed) {
        series.count(Id::RelayedPackets, &[direction], *packets);
    }

    add_distributions(series, snapshot);
    series.add(Id::ShardBusyRatio, &[shard], snapshot.busy_ratio);
    series.distribution(Id::ShardTick, &[shard], &snapshot.ticks);
    for lane in &snapshot.lanes {
        series.count(Id::ShardQueueDepth, &[shard, lane.name], lane.depth);
        series.count(Id::ShardQueueDrops, &[shard, lane.name], lane.dropped);
    }
}

fn add_distributions(series: &mut Series, snapshot: &ShardSnapshot) {
    series.distribution(Id::ForwardLatency, &[], &snapshot.forward_latency);
    series.distribution(Id::KeyframeWait, &[], &snapshot.keyframe_wait);
    series.distribution(Id::AllocationDuration, &[], &snapshot.allocation);
    series.distribution(Id::Rtt, &[], &snapshot.rtt);
    series.distribution(Id::DownlinkEstimate, &[], &snapshot.estimate);
    for (kind, delay) in kinds(&snapshot.pacer_delay) {
        series.distribution(Id::PacerDelay, &[kind], delay);
    }
    for (phase, took) in &snapshot.join {
        series.distribution(Id::JoinDuration, &[phase], took);
    }
    for (id, by_direction) in [(Id::Jitter, &snapshot.jitter), (Id::LossRatio, &snapshot.loss)] {
        for (direction, distribution) in directions(by_direction) {
            series.distribution(id, &[direction], distribution);
        }
    }
}

fn directions<T>(value: &PerDirection<T>) -> [(&'static str, &T); 2] {
    [("received", &value.received), ("sent", &value.sent)]
}

fn kinds<T>(value: &PerKind<T>) -> [(&'static str, &T); 2] {
    [("audio", &value.audio), ("video", &value.video)]
}

/// Values by metric and label values, summed over shards.
#[derive(Default)]
struct Series(BTreeMap<Id, BTreeMap<Vec<String>, Value>>);

/// A value of one series.
enum Value {
    Number(f64),
    Distribution(Distribution),
}

impl Series {
    fn count(&mut self, id: Id, labels: &[&str], value: u64) {
        self.add(id, labels, value as f64);
    }

    fn add(&mut self, id: Id, labels: &[&str], value: f64) {
        if let Value::Number(sum) = self.value(id, labels, || Value::Number(0.0)) {
            *sum += value;
        }
    }

    fn distribution(&mut self, id: Id, labels: &[&str], value: &Distribution) {
        if let Value::Distribution(sum) = self.value(id, labels, || Value::Distribution(Distribution::default())) {
            sum.add(value);
        }
    }

    fn value(&mut self, id: Id, labels: &[&str], new: impl FnOnce() -> Value) -> &mut Value {
        debug_assert_eq!(labels.len(), id.metric().labels.len(), "{} has other labels", id.metric().name);
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.entry(id).or_default().entry(labels).or_insert_with(new)
    }

    fn into_families(self) -> Vec<MetricFamily> {
        self.0.into_iter().map(|(id, series)| family(id, series)).collect()
    }
}

fn family(id: Id, series: BTreeMap<Vec<String>, Value>) -> MetricFamily {
    let row = id.metric();
    let metrics = series.into_iter().map(|(values, value)| {
        let labels = row.labels.iter().zip(values).map(|((name, _), value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value);
            pair
        });
        let mut metric = Metric::from_label(labels.collect());
        match (value, row.kind) {
            (Value::Distribution(distribution), _) => metric.set_histogram(histogram(&distribution)),
            (Value::Number(value), Kind::Counter) => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            (Value::Number(value), _) => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(row.name.to_owned());
    family.set_help(row.help.to_owned());
    family.set_field_type(match row.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(metrics.collect());
    family
}

/// Buckets as Prometheus has them: each counts all values up to its bound. The encoder adds the one without a bound.
fn histogram(distribution: &Distribution) -> Histogram {
    let mut so_far = 0;
    let buckets = distribution.buckets.iter().map(|(bound, count)| {
        so_far += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(so_far);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(distribution.count());
    histogram.set_sample_sum(distribution.sum);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Lane, LayerSwitches};

    const BUILD: Build = Build { version: "0.1.0", commit: "abc" };

    fn registry(control: &Arc<ControlPlane>, shards: &[Arc<ShardSlot>]) -> Registry {
        let registry = Registry::new();
        let collector = SluiceCollector::new(BUILD, control.clone(), shards.to_vec()).expect("the catalogue is valid");
        registry.register(Box::new(collector)).expect("registered once");
        registry
    }

    /// A snapshot in which everything that has a list of labels has an entry.
    fn snapshot(packets: u64, busy_ratio: f64) -> ShardSnapshot {
        ShardSnapshot {
            rtp_packets: PerDirection { sent: PerKind { video: packets, audio: 0 }, ..Default::default() },
            packets_dropped: vec![("srtp_auth", packets)],
            disconnects: vec![("consent_expired", 1)],
            layer_switches: vec![("bandwidth", LayerSwitches { up: packets, down: 1 })],
            probes: vec![("raised", 1)],
            sharing: 2,
            repeating: 3,
            policed: 1,
            relieved: [3, 2],
            held_back: 4,
            shortfalls: vec![("no_room", 2)],
            panics: vec![("participant", 1)],
            rtcp_packets: vec![("pli", PerDirection { received: 1, sent: 2 })],
            join: vec![("ice", Distribution::new(&[1.0]))],
            encodings: vec![1],
            rtt: rtts(&[0.5, 1.0, 3.0]),
            lanes: vec![Lane { name: "commands", depth: 3, dropped: 4 }],
            busy_ratio,
            ..Default::default()
        }
    }

    #[test]
    fn shards_are_summed_except_where_the_shard_is_a_label() {
        let shards = [Arc::new(ShardSlot::default()), Arc::new(ShardSlot::default())];
        shards[0].publish(snapshot(10, 0.25));
        shards[1].publish(snapshot(5, 0.5));
        let text = render(&registry(&Arc::default(), &shards));
        for line in [
            "sluice_rtp_packets_total{direction=\"sent\",kind=\"video\"} 15",
            "sluice_packets_dropped_total{reason=\"srtp_auth\"} 15",
            "sluice_layer_switches_total{direction=\"up\",reason=\"bandwidth\"} 15",
            "sluice_layer_switches_total{direction=\"down\",reason=\"bandwidth\"} 2",
            "sluice_bandwidth_probes_total{outcome=\"raised\"} 2",
            "sluice_receivers_sharing_bottleneck 4",
            "sluice_receivers_with_repeated_sound 6",
            "sluice_receivers_policed 2",
            "sluice_receivers_relieved{pictures=\"smallest\"} 6",
            "sluice_receivers_relieved{pictures=\"none\"} 4",
            "sluice_tracks_held_back 8",
            "sluice_publisher_shortfalls_total{cause=\"no_room\"} 4",
            "sluice_panics_total{about=\"participant\"} 2",
            "sluice_shard_busy_ratio{shard=\"0\"} 0.25",
            "sluice_shard_busy_ratio{shard=\"1\"} 0.5",
            "sluice_shard_queue_depth{shard=\"1\",lane=\"commands\"} 3",
            "sluice_build_info{version=\"0.1.0\",commit=\"abc\"} 1",
            "# TYPE sluice_rtp_packets_total counter",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }

    fn rtts(values: &[f64]) -> Distribution {
        let mut distribution = Distribution::new(&[0.5, 1.0, 2.0]);
        values.iter().for_each(|value| distribution.observe(*value));
        distribution
    }

    #[test]
    fn distributions_are_summed_and_their_buckets_count_everything_below() {
        let shards = [Arc::new(ShardSlot::default()), Arc::new(ShardSlot::default())];
        shards.iter().for_each(|shard| shard.publish(snapshot(1, 0.0)));
        let text = render(&registry(&Arc::default(), &shards));
        for line in [
            "sluice_rtt_seconds_bucket{le=\"0.5\"} 2",
            "sluice_rtt_seconds_bucket{le=\"1\"} 4",
            "sluice_rtt_seconds_bucket{le=\"2\"} 4",
            "sluice_rtt_seconds_bucket{le=\"+Inf\"} 6",
            "sluice_rtt_seconds_sum 9",
            "sluice_rtt_seconds_count 6",
            "# TYPE sluice_rtt_seconds histogram",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn http_requests_are_counted_by_route_and_never_by_what_a_client_made_up() {
        let control = Arc::<ControlPlane>::default();
        control.http.observe("/whip/{room}", "POST", 201, std::time::Duration::from_millis(3));
        control.http.observe("/whip/{room}", "BREW", 405, std::time::Duration::from_secs(60));
        let text = render(&registry(&control, &[]));
        let name = "sluice_http_request_duration_seconds_bucket";
        for line in [
            format!("{name}{{route=\"/whip/{{room}}\",method=\"POST\",status=\"201\",le=\"0.005\"}} 1"),
            format!("{name}{{route=\"/whip/{{room}}\",method=\"other\",status=\"405\",le=\"5\"}} 0"),
            format!("{name}{{route=\"/whip/{{room}}\",method=\"other\",status=\"405\",le=\"+Inf\"}} 1"),
        ] {
            assert!(text.contains(&line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_snapshot_replaces_the_one_before() {
        let shard = Arc::new(ShardSlot::default());
        let registry = registry(&Arc::default(), std::slice::from_ref(&shard));
        shard.publish(snapshot(10, 0.0));
        shard.publish(snapshot(12, 0.0));
        assert!(render(&registry).contains("sluice_rtp_packets_total{direction=\"sent\",kind=\"video\"} 12\n"));
    }

    #[test]
    fn the_control_plane_counts_by_outcome_and_never_below_zero() {
        let control = Arc::<ControlPlane>::default();
        control.joins.count("joined");
        control.joins.count("joined");
        control.joins.count("room-full");
        control.rooms.increment();
        control.rooms.decrement();
        control.rooms.decrement();
        let text = render(&registry(&control, &[]));
        assert!(text.contains("sluice_joins_total{outcome=\"joined\"} 2\n"), "{text}");
        assert!(text.contains("sluice_joins_total{outcome=\"room-full\"} 1\n"), "{text}");
        assert!(text.contains("sluice_rooms 0\n"), "{text}");
    }

    #[test]
    fn every_row_of_the_catalogue_is_filled() {
        let shard = Arc::new(ShardSlot::default());
        shard.publish(snapshot(1, 0.0));
        let control = Arc::<ControlPlane>::default();
        control.joins.count("joined");
        control.signaling_errors.count("bad-message");
        control.auth_failures.count("token-expired");
        control.http.observe("/ws", "GET", 101, std::time::Duration::ZERO);
        let text = render(&registry(&control, &[shard]));
        for id in Id::ALL {
            assert!(text.contains(&format!("# TYPE {} ", id.metric().name)), "{} has no value", id.metric().name);
        }
    }
}
