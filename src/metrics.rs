//! What operators see at `/metrics`: one function per event. Callers say what happened, not how it is counted.
//! Labels have few values; never a session, entity or address. `docs/metrics.md` has a row for each.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::local::LocalHistogram;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::admit::movement::Rule;
use crate::admit::{Close, Refusal};
use crate::log::Health;
use crate::log::disk::Turn;
use crate::region::Facts;
use crate::region::submit::ErrandFacts;
use crate::session::flow::SeenFact;
use crate::session::things::Sighting;
use crate::session::{Note, StateNote};

/// A step of the way of a position from one player to another; the same names in metrics, demo and docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Sample time to receipt; ± half a round trip.
    ClientToGateway,
    /// Bytes to admitted sample.
    DecodeAdmit,
    /// Admission to the record that carries it.
    BatchWait,
    /// Publishing to polling, own records.
    LogRoundTrip,
    /// Admission to the tick that shows it.
    FoldToTick,
    /// Making the frames of a tick.
    Freeze,
    /// Tick to encoded state, one viewer.
    ViewEncode,
    /// Handing a state to the socket.
    SocketWrite,
    /// Write to the client's `seen`, less the time it held it.
    WriteToSeen,
    /// Sample time to the viewer's `seen`.
    EndToEnd,
}

impl Hop {
    /// All, in order of the flow.
    pub const ALL: [Hop; 10] = [
        Hop::ClientToGateway,
        Hop::DecodeAdmit,
        Hop::BatchWait,
        Hop::LogRoundTrip,
        Hop::FoldToTick,
        Hop::Freeze,
        Hop::ViewEncode,
        Hop::SocketWrite,
        Hop::WriteToSeen,
        Hop::EndToEnd,
    ];

    /// The label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Hop::ClientToGateway => "client_to_gateway",
            Hop::DecodeAdmit => "decode_admit",
            Hop::BatchWait => "batch_wait",
            Hop::LogRoundTrip => "log_round_trip",
            Hop::FoldToTick => "fold_to_tick",
            Hop::Freeze => "freeze",
            Hop::ViewEncode => "view_encode",
            Hop::SocketWrite => "socket_write",
            Hop::WriteToSeen => "write_to_seen",
            Hop::EndToEnd => "end_to_end",
        }
    }
}

/// Seconds. Fine where a hop takes microseconds, and around the tick of 50 ms.
const SECONDS: [f64; 22] = [
    0.000_005, 0.000_02, 0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.075,
    0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0,
];
const METRES: [f64; 10] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 50.0];
const BYTES: [f64; 12] =
    [16.0, 64.0, 128.0, 256.0, 512.0, 768.0, 1_024.0, 1_536.0, 2_048.0, 4_096.0, 8_192.0, 32_768.0];
const COUNTS: [f64; 11] = [0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// The histograms that every message and state is counted in.
struct Often<H> {
    hops: Vec<H>,
    view_age: H,
    view_error: H,
    remote_age: H,
    state_bytes: H,
    state_entities: [H; 3],
    in_view: H,
}

impl Often<Histogram> {
    fn local(&self) -> Often<LocalHistogram> {
        let Often { hops, view_age, view_error, remote_age, state_bytes, state_entities, in_view } = self;
        Often {
            hops: hops.iter().map(Histogram::local).collect(),
            view_age: view_age.local(),
            view_error: view_error.local(),
            remote_age: remote_age.local(),
            state_bytes: state_bytes.local(),
            state_entities: state_entities.each_ref().map(Histogram::local),
            in_view: in_view.local(),
        }
    }
}

thread_local! {
    /// What this thread has counted and not [settled](settle) yet: a thousand additions of one thread are one of all.
    static LOCAL: Often<LocalHistogram> = METRICS.often.local();
}

/// Adds what this thread has counted to what operators see. Each loop that counts does so once a turn.
pub fn settle() {
    LOCAL.with(|local| {
        let Often { hops, view_age, view_error, remote_age, state_bytes, state_entities, in_view } = local;
        let ones = [view_age, view_error, remote_age, state_bytes, in_view];
        ones.into_iter().chain(hops).chain(state_entities).for_each(LocalHistogram::flush);
    });
}

struct Metrics {
    registry: Registry,
    often: Often<Histogram>,
    tick_delay: Histogram,
    ticks_missed: IntCounter,
    ticks_skipped: IntCounter,
    ticks_late: IntCounter,
    deferred: IntCounter,
    crowded_out: IntCounter,
    full_views: IntCounter,
    digests: [IntCounter; 2],
    reported_ages: [Histogram; 2],
    stale_told: IntCounter,
    merged: IntCounter,
    dropped: [IntCounter; 2],
    refusals: Vec<IntCounter>,
    shadowed: [IntCounter; Rule::ALL.len()],
    cleaned: IntCounter,
    closes: IntCounterVec,
    sessions: IntGaugeVec,
    avatars: IntGaugeVec,
    regions: IntGaugeVec,
    partitions: IntGaugeVec,
    queue: IntGaugeVec,
    turned_away: IntCounterVec,
    outcomes: [IntCounter; 3],
    foreign: IntCounter,
    echo_mismatch: IntCounter,
    expired: IntCounter,
    forgotten: [IntCounter; 3],
    openings: [IntCounter; 3],
    recalls: [IntCounter; 2],
    out_of_bounds: IntCounter,
    /// Commands lost before a snapshot had them; states that differ; snapshots that are whole.
    stories: [IntCounter; 3],
    /// Put, gone, beyond; and what was done with objects of itself: carried, put down, arrived, landed.
    objects: [IntCounter; 3],
    errands: [IntCounter; 4],
    unreachable: IntCounter,
    trims: [IntCounter; 2],
    connections: IntGauge,
    clock_offset: GaugeVec,
    clock_error: GaugeVec,
    rows_max: IntGauge,
    lingers_cut: IntCounter,
    disk_commit: Histogram,
    disk_records: IntCounter,
    disk_bytes: IntGauge,
    disk_segments: IntGauge,
    disk_broken: IntGauge,
    disk_full: IntGauge,
    disk_freed: IntCounter,
    disk_untidy: IntCounter,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

impl Metrics {
    fn new() -> Metrics {
        let registry = Registry::new();
        let r = &registry;
        let hops = histograms(r, "nearcast_hop_seconds", "Duration of each hop.", "hop", &SECONDS);
        let entities = histograms(r, "nearcast_state_entities", "Entities in one state.", "kind", &COUNTS);
        let counters = |name, help, label| register(r, IntCounterVec::new(Opts::new(name, help), &[label]));
        let counter = |name, help| register(r, IntCounter::new(name, help));
        let gauge = |name, help| register(r, IntGauge::new(name, help));
        let measures = |name, help| register(r, GaugeVec::new(Opts::new(name, help), &["world"]));
        let gauges = |name, help, label| register(r, IntGaugeVec::new(Opts::new(name, help), &[label]));
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            register(r, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
        };
        let digests = counters("nearcast_digests_total", "View digests reported by clients.", "same");
        let ages = histograms(
            r,
            "nearcast_reported_age_seconds",
            "Ages of updates on receipt, as clients say.",
            "share",
            &SECONDS,
        );
        let outcomes = counters("nearcast_log_outcomes_total", "Ends of publishes.", "outcome");
        let openings = counters("nearcast_openings_total", "Sessions that the log has opened.", "how");
        let recalls = counters("nearcast_recalls_total", "Readings of the log that sessions asked for.", "told");
        let forgotten = counters("nearcast_forgotten_total", "Memories of one partition lost to their bound.", "what");
        let trims = counters("nearcast_log_trims_total", "Wishes to advance a partition's start, ended.", "result");
        let objects =
            counters("nearcast_object_rows_total", "Objects told to clients, taken back, or too many.", "kind");
        let errands = counters(
            "nearcast_object_errands_total",
            "Records about objects that this gateway wrote of itself.",
            "kind",
        );
        let dropped = counters("nearcast_samples_dropped_total", "Samples lost to a bound.", "bound");
        let refusals = counters("nearcast_refusals_total", "Messages without effect.", "reason");
        let shadowed =
            counters("nearcast_shadowed_total", "Moves and actions admitted against a rule in shadow.", "rule");
        let info = register(r, GaugeVec::new(Opts::new("nearcast_info", "Version of this gateway."), &["version"]));
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        Metrics {
            often: Often {
                hops: Hop::ALL.iter().map(|hop| hops.with_label_values(&[hop.label()])).collect(),
                view_age: histogram(
                    "nearcast_view_age_seconds",
                    "Mean age at the tick of the samples in one state.",
                    &SECONDS,
                ),
                view_error: histogram(
                    "nearcast_view_error_meters",
                    "Largest distance between what a client held and where the entity was, before its state.",
                    &METRES,
                ),
                remote_age: histogram(
                    "nearcast_remote_age_seconds",
                    "Age at the tick of samples that came from other gateways; see nearcast_peer_clock_error_seconds.",
                    &SECONDS,
                ),
                state_bytes: histogram("nearcast_state_bytes", "Bytes of one state on the socket.", &BYTES),
                state_entities: ["enter", "update", "leave"].map(|kind| entities.with_label_values(&[kind])),
                in_view: histogram("nearcast_view_entities", "Entities that a client holds, at each state.", &COUNTS),
            },
            tick_delay: histogram("nearcast_tick_delay_seconds", "From a tick's time to its frames.", &SECONDS),
            ticks_missed: counter("nearcast_ticks_missed_total", "Ticks that the world was too late for."),
            ticks_skipped: counter("nearcast_ticks_skipped_total", "States not sent, as too much was on its way."),
            ticks_late: counter(
                "nearcast_ticks_late_total",
                "Ticks that sessions were too late for, summed over them.",
            ),
            deferred: counter("nearcast_updates_deferred_total", "Updates that were due and did not fit the budget."),
            crowded_out: counter(
                "nearcast_crowded_out_total",
                "Entities in radius that no budget was left for, by state.",
            ),
            full_views: counter("nearcast_full_views_total", "Full views begun."),
            digests: ["true", "false"].map(|same| digests.with_label_values(&[same])),
            reported_ages: ["p50", "p99"].map(|share| ages.with_label_values(&[share])),
            stale_told: counter("nearcast_stale_total", "Clients told that their view is old."),
            merged: counter("nearcast_samples_merged_total", "Samples above the rate, merged into the next tick."),
            dropped: ["inbox_full", "partition_full"].map(|bound| dropped.with_label_values(&[bound])),
            refusals: Refusal::ALL.iter().map(|reason| refusals.with_label_values(&[reason.code()])).collect(),
            shadowed: Rule::ALL.map(|rule| shadowed.with_label_values(&[rule.label()])),
            cleaned: counter("nearcast_texts_cleaned_total", "Texts of which something was dropped or normalised."),
            closes: counters("nearcast_closes_total", "Sessions ended.", "reason"),
            sessions: gauges("nearcast_sessions", "Open sessions.", "world"),
            avatars: gauges(
                "nearcast_avatars_owned",
                "Avatars this gateway writes, those that linger included.",
                "world",
            ),
            regions: gauges("nearcast_regions", "Regions that hold somebody.", "world"),
            partitions: gauges("nearcast_partitions_followed", "Partitions followed.", "world"),
            queue: register(r, IntGaugeVec::new(Opts::new("nearcast_queue_depth", "What waits."), &["world", "queue"])),
            turned_away: counters("nearcast_connections_refused_total", "Upgrades refused.", "reason"),
            outcomes: ["at", "never_entered", "unknown"].map(|outcome| outcomes.with_label_values(&[outcome])),
            foreign: counter("nearcast_records_foreign_total", "Records that are damaged or not ours, skipped."),
            echo_mismatch: counter("nearcast_echo_mismatch_total", "Own samples that came back newer than written."),
            expired: counter("nearcast_expired_total", "Avatars of other gateways that expired."),
            forgotten: ["session", "leaver", "resume"].map(|what| forgotten.with_label_values(&[what])),
            openings: ["new", "resumed", "refused"].map(|how| openings.with_label_values(&[how])),
            recalls: ["true", "false"].map(|told| recalls.with_label_values(&[told])),
            stories: [
                counter("nearcast_commands_lost_total", "Partitions whose log begins behind the newest snapshot."),
                counter("nearcast_states_differ_total", "Partitions that another gateway has folded to another state."),
                counter("nearcast_snapshots_total", "Snapshots that are whole in the log, whoever wrote them."),
            ],
            out_of_bounds: counter("nearcast_out_of_bounds_total", "Partitions read anew: their offset was gone."),
            objects: ["put", "gone", "beyond"].map(|kind| objects.with_label_values(&[kind])),
            errands: ["carry", "put_down", "arrive", "land"].map(|kind| errands.with_label_values(&[kind])),
            unreachable: counter("nearcast_log_unreachable_total", "Times the log could not be reached."),
            trims: ["moved", "failed"].map(|result| trims.with_label_values(&[result])),
            connections: gauge("nearcast_connections", "Open sockets."),
            clock_offset: measures(
                "nearcast_peer_clock_offset_seconds",
                "Largest clock difference to another gateway.",
            ),
            clock_error: measures("nearcast_peer_clock_error_seconds", "How wrong that difference may be."),
            rows_max: gauge("nearcast_state_rows_max", "Rows that a state may have; fewer while ticks take long."),
            lingers_cut: counter("nearcast_lingers_cut_total", "Avatars that left at once: too many linger."),
            disk_commit: histogram(
                "nearcast_disk_commit_seconds",
                "From taking what was published to its being safe on disk and answered.",
                &SECONDS,
            ),
            disk_records: counter("nearcast_disk_records_total", "Records that are safe on disk."),
            disk_bytes: gauge("nearcast_disk_bytes", "Bytes of the log on disk."),
            disk_segments: gauge("nearcast_disk_segments", "Files of the log on disk."),
            disk_broken: gauge("nearcast_disk_broken", "1: the log cannot be written to."),
            disk_full: gauge("nearcast_disk_full", "1: the log takes nothing until there is room."),
            disk_freed: counter("nearcast_disk_freed_bytes_total", "Bytes that nobody wanted any more, made free."),
            disk_untidy: counter("nearcast_disk_untidy_total", "Times that such bytes could not be made free."),
            registry,
        }
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(r: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("names and labels are constants");
    r.register(Box::new(collector.clone())).expect("each name is registered once");
    collector
}

fn histograms(r: &Registry, name: &str, help: &str, label: &str, buckets: &[f64]) -> HistogramVec {
    register(r, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &[label]))
}

/// Everything, in the Prometheus text format.
#[must_use]
pub fn text() -> String {
    TextEncoder::new().encode_to_string(&METRICS.registry.gather()).unwrap_or_default()
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// A hop took so long.
pub fn hop(hop: Hop, took: Duration) {
    LOCAL.with(|local| local.hops[hop as usize].observe(took.as_secs_f64()));
}

fn hop_us(hop: Hop, us: u64) {
    LOCAL.with(|local| local.hops[hop as usize].observe(seconds(us)));
}

/// What a session noted.
pub fn noted(note: &Note) {
    let m = &*METRICS;
    match note {
        Note::Sample { client_to_gateway_us } => hop_us(Hop::ClientToGateway, *client_to_gateway_us),
        Note::Merged => m.merged.inc(),
        Note::Refused(reason) => refused(*reason),
        Note::Shadowed(rule) => m.shadowed[*rule as usize].inc(),
        Note::Cleaned => m.cleaned.inc(),
        Note::State(state) => state_sent(state),
        Note::Objects(Sighting { put, gone, beyond }) => {
            m.objects.iter().zip([*put, *gone, *beyond]).for_each(|(counter, n)| counter.inc_by(n as u64));
        }
        Note::Skipped => m.ticks_skipped.inc(),
        Note::Late(ticks) => m.ticks_late.inc_by(*ticks),
        Note::Seen(SeenFact { write_to_seen_us, end_to_end_us }) => {
            hop_us(Hop::WriteToSeen, *write_to_seen_us);
            end_to_end_us.iter().for_each(|us| hop_us(Hop::EndToEnd, *us));
        }
        Note::Digest { same } => m.digests[usize::from(!same)].inc(),
        Note::Ages { p50_ms, p99_ms } => {
            let ages = m.reported_ages.iter().zip([*p50_ms, *p99_ms]);
            ages.for_each(|(histogram, ms)| histogram.observe((ms / 1e3).max(0.0)));
        }
        Note::Stale(stale) => m.stale_told.inc_by(u64::from(*stale)),
    }
}

fn refused(reason: Refusal) {
    let at = Refusal::ALL.iter().position(|known| *known == reason).expect("all are in the list");
    METRICS.refusals[at].inc();
}

fn state_sent(state: &StateNote) {
    LOCAL.with(|local| {
        local.state_bytes.observe(state.bytes as f64);
        for (histogram, count) in local.state_entities.iter().zip([state.enters, state.updates, state.leaves]) {
            histogram.observe(count as f64);
        }
        local.in_view.observe(state.summary.held as f64);
        if state.updates > 0 {
            local.view_age.observe(seconds(state.summary.age_sum_us / state.updates as u64));
        }
        local.view_error.observe((state.summary.error_max2_cm as f64).sqrt() / 100.0);
    });
    let m = &*METRICS;
    m.deferred.inc_by(state.summary.deferred as u64);
    m.crowded_out.inc_by(state.summary.crowded_out as u64);
    m.full_views.inc_by(u64::from(state.full));
}

/// States may have so many rows now.
pub fn rows_max(rows: usize) {
    METRICS.rows_max.set(rows as i64);
}

/// What the world noted since the last time.
pub fn world_facts(facts: &Facts) {
    let m = &*METRICS;
    facts.batch_wait_us.iter().for_each(|us| hop_us(Hop::BatchWait, *us));
    facts.log_round_trip_us.iter().for_each(|us| hop_us(Hop::LogRoundTrip, *us));
    facts.fold_to_tick_us.iter().for_each(|us| hop_us(Hop::FoldToTick, *us));
    LOCAL.with(|local| facts.remote_age_us.iter().for_each(|us| local.remote_age.observe(seconds(*us))));
    m.outcomes.iter().zip(facts.outcomes).for_each(|(counter, n)| counter.inc_by(n));
    m.foreign.inc_by(facts.foreign);
    m.echo_mismatch.inc_by(facts.echo_mismatch);
    m.expired.inc_by(facts.expired);
    m.lingers_cut.inc_by(facts.lingers_cut);
    m.forgotten
        .iter()
        .zip([facts.sessions_forgotten, facts.leavers_forgotten, facts.resumes_forgotten])
        .for_each(|(c, n)| c.inc_by(n));
    m.openings.iter().zip(facts.opened).for_each(|(counter, n)| counter.inc_by(n));
    m.recalls.iter().zip(facts.recalls).for_each(|(counter, n)| counter.inc_by(n));
    m.out_of_bounds.inc_by(facts.out_of_bounds);
    m.stories.iter().zip([facts.gaps, facts.diverged, facts.snapshots]).for_each(|(counter, n)| counter.inc_by(n));
    let ErrandFacts { carried, put_down, arrived, landed } = facts.errands;
    m.errands.iter().zip([carried, put_down, arrived, landed]).for_each(|(counter, n)| counter.inc_by(n));
    m.unreachable.inc_by(u64::from(facts.unreachable.is_some()));
    if facts.full > 0 {
        m.dropped[1].inc_by(facts.full);
    }
}

/// A tick's frames were made, so long after its time; so many ticks before it were not made at all.
pub fn ticked(delay_us: u64, freeze: Duration, missed: u64) {
    METRICS.tick_delay.observe(seconds(delay_us));
    METRICS.ticks_missed.inc_by(missed);
    hop(Hop::Freeze, freeze);
}

/// A world's sizes.
pub fn world_sizes(world: &str, avatars: usize, regions: usize, partitions: usize) {
    let m = &*METRICS;
    m.avatars.with_label_values(&[world]).set(avatars as i64);
    m.regions.with_label_values(&[world]).set(regions as i64);
    m.partitions.with_label_values(&[world]).set(partitions as i64);
}

/// How much waits in a queue.
pub fn queued(world: &str, queue: &str, depth: usize) {
    METRICS.queue.with_label_values(&[world, queue]).set(depth as i64);
}

/// The largest clock difference to a peer and how wrong it may be, µs.
pub fn peer_clock(world: &str, offset_us: i64, error_us: i64) {
    METRICS.clock_offset.with_label_values(&[world]).set(offset_us as f64 / 1e6);
    METRICS.clock_error.with_label_values(&[world]).set(error_us as f64 / 1e6);
}

/// A wish to advance a partition's start has ended.
pub fn trimmed(moved: bool) {
    METRICS.trims[usize::from(!moved)].inc();
}

/// The log on disk did what it was asked.
pub fn disk_turned(turn: &Turn) {
    let m = &*METRICS;
    if turn.published > 0 {
        m.disk_commit.observe(turn.took.as_secs_f64());
        m.disk_records.inc_by(turn.committed);
    }
    m.disk_segments.set(turn.segments as i64);
    m.disk_bytes.set(turn.bytes as i64);
    m.disk_broken.set(i64::from(turn.health == Health::Down));
    m.disk_full.set(i64::from(turn.health == Health::Full));
    m.disk_freed.inc_by(turn.freed);
    m.disk_untidy.inc_by(u64::from(turn.untidy));
}

/// A connection was not taken.
pub fn turned_away(reason: &str) {
    METRICS.turned_away.with_label_values(&[reason]).inc();
}

/// A world's inbox was full: a sample is lost.
pub fn sample_dropped() {
    METRICS.dropped[0].inc();
}

/// A session opened (+1) or ended (−1).
pub fn session_count(world: &str, change: i64) {
    METRICS.sessions.with_label_values(&[world]).add(change);
}

/// A socket opened (+1) or ended (−1).
pub fn connection_count(change: i64) {
    METRICS.connections.add(change);
}

/// The gateway ended a session.
pub fn closed(close: Close) {
    METRICS.closes.with_label_values(&[close.label()]).inc();
}

/// A client closed its WebSocket.
pub fn left() {
    METRICS.closes.with_label_values(&["client"]).inc();
}

/// A socket ended without a word.
pub fn lost() {
    METRICS.closes.with_label_values(&["lost"]).inc();
}
