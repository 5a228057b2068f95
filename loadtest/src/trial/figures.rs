//! The figures of a window: what the bots saw, what the gateways say of themselves, and what they cost.

use nearcast::limits::{SECOND_US, TICK_US};

use crate::audit::tally::{Tally, quantile_ms};
use crate::scrape::Reading;
use crate::sheet::{Sheet, median};
use crate::swarm::{Counters, Counts, Window};

const TICKS_PER_S: f64 = (SECOND_US / TICK_US) as f64;

/// Wanted figures that the gateway or its process tells, which a run against one that was started elsewhere lacks.
pub const FROM_INSIDE: [&str; 8] = [
    "age_p99_less_work_ms",
    "cpu_us_per_client_tick",
    "missed_ticks",
    "rss_growth_mib",
    "rss_per_client_kib",
    "rss_spread_percent",
    "skipped_ticks",
    "tick_delay_p99_ms",
];

/// How late the swarm was at p99, ms.
#[must_use]
pub fn late_ms(sheet: &Sheet) -> f64 {
    sheet.get("swarm_send_late_p99_ms").unwrap_or(0.0).max(sheet.get("swarm_read_late_p99_ms").unwrap_or(0.0))
}

/// Throughput and the audit's figures.
pub fn put_swarm(sheet: &mut Sheet, window: &Window) {
    let Window { seconds, bots, groups, held, counters, tallies } = window;
    let rates = |group: usize, ticks: fn(&Counts) -> Option<u64>| {
        let whole = bots.iter().zip(groups).filter(|(counts, of)| counts.whole && **of == group);
        let mut rates: Vec<f64> = whole.filter_map(|(counts, _)| Some(ticks(counts)? as f64 / seconds)).collect();
        rates.sort_by(f64::total_cmp);
        rates
    };
    let [good, bad] = [0, 1].map(|group| rates(group, |counts| Some(counts.states)));
    let served = |counts: &Counts| counts.audited.then_some(counts.states + counts.quiet);
    let [good_served, bad_served] = [0, 1].map(|group| rates(group, served));
    if let Some(lowest) = good.first() {
        sheet.put("states_per_s_median", median(&good), "1/s");
        sheet.put("states_per_s_min", *lowest, "1/s");
    }
    if let Some(served) = good_served.first() {
        sheet.put("served_per_s_min", *served, "1/s");
        put_audit(sheet, &tallies[0]);
    }
    if let (Some(lowest), Some(served)) = (bad.first(), bad_served.first()) {
        sheet.put("bad_states_per_s_median", median(&bad), "1/s");
        sheet.put("bad_states_per_s_min", *lowest, "1/s");
        sheet.put("bad_served_per_s_min", *served, "1/s");
        let tally = &tallies[1];
        sheet.put("bad_view_age_p50_ms", quantile_ms(&tally.view_age_us, 0.5), "ms");
        sheet.put("bad_view_age_p99_ms", quantile_ms(&tally.view_age_us, 0.99), "ms");
        sheet.put("bad_view_age_max_ms", quantile_ms(&tally.view_age_us, 1.0), "ms");
        sheet.put("bad_age_p50_ms", quantile_ms(&tally.age_us, 0.5), "ms");
        sheet.put("bad_age_p99_ms", quantile_ms(&tally.age_us, 0.99), "ms");
        sheet.put("bad_stale_p50_ms", quantile_ms(&tally.stale_us, 0.5), "ms");
        sheet.put("bad_stale_p99_ms", quantile_ms(&tally.stale_us, 0.99), "ms");
        sheet.put("bad_missed_states", tally.missed_states as f64, "");
        sheet.put("bad_missing_ghost_per_million", tally.presence.per_million(), "");
    }
    let whole = bots.iter().filter(|counts| counts.whole).count().max(1) as f64;
    let bytes: u64 = bots.iter().filter(|counts| counts.whole).map(|counts| counts.bytes).sum();
    sheet.put("bytes_per_client_s", bytes as f64 / seconds / whole, "bytes/s");
    let updates: Vec<u64> = bots.iter().filter(|bot| bot.whole && bot.keeps).map(|bot| bot.updates).collect();
    let updates_mean = updates.iter().sum::<u64>() as f64 / updates.len().max(1) as f64;
    sheet.put("updates_per_client_s", updates_mean / seconds, "1/s");
    put_bytes(sheet, window);
    sheet.put("held_mean", held.iter().sum::<usize>() as f64 / held.len().max(1) as f64, "entities");
    sheet.put("ticks_per_s", counters.ticks as f64 / seconds, "1/s");
    let gaps: u64 = bots.iter().zip(groups).filter(|(_, of)| **of == 0).map(|(counts, _)| counts.gaps).sum();
    sheet.put("gaps_between_states", gaps as f64, "ticks");
    let worst = counters.gaps.values().max().copied().unwrap_or(0);
    sheet.put("gaps_in_the_worst_tick", f64::from(worst), "bots");
    sheet.put("lost_sessions", counters.lost_count as f64, "");
    sheet.put("refusals_heard", counters.refusals.values().sum::<u64>() as f64, "");
    put_commands(sheet, window);
    sheet.put("sends_blocked", counters.blocked as f64, "");
    sheet.put("swarm_send_late_p99_ms", quantile_ms(&counters.send_late_us, 0.99), "ms");
    sheet.put("swarm_read_late_p99_ms", quantile_ms(&counters.read_late_us, 0.99), "ms");
}

/// What became of commands, and of connections.
fn put_commands(sheet: &mut Sheet, window: &Window) {
    let Counters { ack_us, commands_refused, returns, .. } = &window.counters;
    if !ack_us.is_empty() || *commands_refused > 0 {
        sheet.put("commands_acked_per_s", ack_us.len() as f64 / window.seconds, "1/s");
        sheet.put("ack_p50_ms", quantile_ms(ack_us, 0.5), "ms");
        sheet.put("ack_p99_ms", quantile_ms(ack_us, 0.99), "ms");
        sheet.put("commands_refused", *commands_refused as f64, "");
    }
    if returns.lost > 0 {
        sheet.put("resumed", returns.resumed as f64, "");
        sheet.put("not_resumed", returns.not_resumed as f64, "");
    }
    sheet.put("resets", returns.resets as f64, "");
}

/// Bytes for each other in radius and tick, told or not, by the bots whose others were counted; and what they are made of.
fn put_bytes(sheet: &mut Sheet, window: &Window) {
    let counted: Vec<&Counts> = window.bots.iter().filter(|counts| counts.whole && counts.around.looks > 0).collect();
    let sum = |of: fn(&Counts) -> u64| counted.iter().map(|counts| of(counts)).sum::<u64>() as f64;
    let others: f64 = counted.iter().map(|counts| counts.around.mean()).sum();
    let ticks = window.seconds * TICKS_PER_S;
    sheet.put("others_in_radius", others / counted.len().max(1) as f64, "");
    if others == 0.0 {
        return;
    }
    let counts_and_held = window.bots.iter().zip(&window.held);
    let held = counts_and_held.filter(|(counts, _)| counts.whole && counts.around.looks > 0).map(|(_, held)| held);
    sheet.put("held_of_others", held.sum::<usize>() as f64 / others, "");
    sheet.put("bytes_per_update", sum(|counts| counts.bytes) / (others * ticks), "bytes");
    let (framed, bodies) = (sum(|counts| counts.state_bytes), sum(|counts| counts.body_bytes));
    if bodies > 0.0 {
        sheet.put("payload_bytes_per_update", bodies / (others * ticks), "bytes");
        sheet.put("envelope_bytes_per_state", (framed - bodies) / sum(|counts| counts.states), "bytes");
        let answers = (sum(|counts| counts.bytes) - framed) / (counted.len() as f64 * window.seconds);
        sheet.put("answers_bytes_per_client_s", answers, "bytes/s");
    }
}

fn put_audit(sheet: &mut Sheet, tally: &Tally) {
    sheet.put("age_p50_ms", quantile_ms(&tally.age_us, 0.5), "ms");
    sheet.put("age_p99_ms", quantile_ms(&tally.age_us, 0.99), "ms");
    if !tally.age_other_us.is_empty() {
        let other = |share| quantile_ms(&tally.age_other_us, share);
        sheet.put("age_other_p50_ms", other(0.5), "ms");
        sheet.put("age_other_p99_ms", other(0.99), "ms");
        sheet.put("other_less_own_p50_ms", other(0.5) - quantile_ms(&tally.age_us, 0.5), "ms");
        sheet.put("other_less_own_p99_ms", other(0.99) - quantile_ms(&tally.age_us, 0.99), "ms");
    }
    sheet.put("stale_p50_ms", quantile_ms(&tally.stale_us, 0.5), "ms");
    sheet.put("stale_p99_ms", quantile_ms(&tally.stale_us, 0.99), "ms");
    sheet.put("stale_max_ms", quantile_ms(&tally.stale_us, 1.0), "ms");
    sheet.put("codec_error_p99_cm", tally.codec_cm.value_at_quantile(0.99) as f64, "cm");
    sheet.put("tick_error_p95_cm", tally.tick_cm.value_at_quantile(0.95) as f64, "cm");
    sheet.put("tick_error_p99_cm", tally.tick_cm.value_at_quantile(0.99) as f64, "cm");
    sheet.put("codec_error_max_cm", tally.codec_cm.max() as f64, "cm");
    let bands = [
        ["held_error_p99_0_10m_cm", "held_error_p99_10_25m_cm", "held_error_p99_25_50m_cm"],
        ["drawn_error_p99_0_10m_cm", "drawn_error_p99_10_25m_cm", "drawn_error_p99_25_50m_cm"],
    ];
    for (names, histograms) in bands.iter().zip([&tally.held_cm, &tally.drawn_cm]) {
        for (name, histogram) in names.iter().zip(histograms).filter(|(_, histogram)| !histogram.is_empty()) {
            sheet.put(name, histogram.value_at_quantile(0.99) as f64, "cm");
        }
    }
    sheet.put("missing_ghost_per_million", tally.presence.per_million(), "");
    sheet.put("missing_entity_ticks", tally.presence.missing as f64, "");
    sheet.put("ghost_entity_ticks", tally.presence.ghosts as f64, "");
    sheet.put("audited_entity_ticks", tally.presence.entity_ticks as f64, "");
    sheet.put("missed_states", tally.missed_states as f64, "");
    sheet.put("audited_updates", tally.updates as f64, "");
    sheet.put("dating_error_p99_ms", quantile_ms(&tally.dating_us, 0.99), "ms");
    sheet.put("nearest_hz", tally.rates.hz(), "Hz");
    sheet.put("budget_depth_s", tally.budget_depth_s, "s");
    if !tally.joins.is_empty() {
        let held = tally.joins.iter().map(|(held, _)| *held).min().unwrap_or(0);
        let missing = tally.joins.iter().map(|(_, missing)| *missing).max().unwrap_or(0);
        sheet.put("joined_8s_held_min", held as f64, "entities");
        sheet.put("joined_8s_missing_max", missing as f64, "entities");
    }
}

/// What the gateways' processes cost.
pub fn put_cpu(sheet: &mut Sheet, window: &Window, bots: usize, cpu_us: f64) {
    let client_ticks = bots as f64 * window.seconds * TICKS_PER_S;
    sheet.put("cpu_us_per_client_tick", cpu_us / client_ticks, "µs");
    sheet.put("cpu_cores", cpu_us / window.seconds / 1e6, "cores");
}

/// What the gateways say of themselves.
pub fn put_gateway(sheet: &mut Sheet, gained: &Reading) {
    sheet.put("skipped_ticks", gained.sum("nearcast_ticks_skipped_total"), "");
    sheet.put("missed_ticks", gained.sum("nearcast_ticks_missed_total"), "");
    sheet.put("late_ticks", gained.sum("nearcast_ticks_late_total"), "");
    sheet.put("digests_differ", gained.labelled("nearcast_digests_total", "same=\"false\""), "");
    if let Some(ms) = gained.quantile_ms("nearcast_tick_delay_seconds", "", 0.99) {
        sheet.put("tick_delay_p99_ms", ms, "ms");
    }
    if let Some(ms) = work_ms(gained) {
        sheet.put("tick_work_mean_ms", ms, "ms");
        // Who saw nobody move has no ages.
        if let Some(age) = sheet.get("age_p99_ms").filter(|age| *age > 0.0) {
            sheet.put("age_p99_less_work_ms", age - ms, "ms");
        }
    }
}

/// The work of a tick, from its time to the last state that a socket was given: what the last client of it must wait. The
/// mean, as all that is done at ticks over their number; of several gateways, of one.
fn work_ms(gained: &Reading) -> Option<f64> {
    let hop = |hop: &str| gained.labelled("nearcast_hop_seconds_sum", &format!("hop=\"{hop}\""));
    let seconds = gained.sum("nearcast_tick_delay_seconds_sum") + hop("view_encode") + hop("socket_write");
    let ticks = gained.sum("nearcast_tick_delay_seconds_count");
    (ticks > 0.0).then(|| 1e3 * seconds / ticks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::Around;

    #[test]
    fn the_work_of_a_tick_is_all_that_is_done_at_ticks_over_their_number() {
        let page = "nearcast_tick_delay_seconds_sum 0.02\nnearcast_tick_delay_seconds_count 10\n\
            nearcast_hop_seconds_sum{hop=\"view_encode\"} 0.1\nnearcast_hop_seconds_sum{hop=\"decode_admit\"} 7\n\
            nearcast_hop_seconds_sum{hop=\"socket_write\"} 0.08\n";
        let ms = work_ms(&Reading::parse(page)).expect("ten ticks");
        assert!((ms - 20.0).abs() < 1e-9, "{ms}");
        assert_eq!(work_ms(&Reading::default()), None);
    }

    #[test]
    fn bytes_are_shared_by_others_and_ticks_told_or_not() {
        // Two looks at five others, 20 s at 20 Hz: 2,000 updates.
        let around = Around { looks: 2, others: 10 };
        let counts = Counts {
            whole: true,
            states: 200,
            bytes: 5_000,
            state_bytes: 4_600,
            body_bytes: 3_200,
            around,
            ..Counts::default()
        };
        let away = Counts { whole: false, bytes: 1_000_000, ..counts };
        let not_counted = Counts { around: Around::default(), bytes: 1_000_000, ..counts };
        let window = Window {
            seconds: 20.0,
            bots: vec![counts, away, not_counted],
            groups: vec![0; 3],
            held: vec![0; 3],
            counters: Counters::default(),
            tallies: Default::default(),
        };
        let mut sheet = Sheet::default();
        put_bytes(&mut sheet, &window);
        let check = |name: &str, expected: f64| {
            let value = sheet.get(name).expect(name);
            assert!((value - expected).abs() < 1e-9, "{name}: {value}");
        };
        check("others_in_radius", 5.0);
        check("bytes_per_update", 2.5);
        check("payload_bytes_per_update", 1.6);
        check("envelope_bytes_per_state", 7.0);
        check("answers_bytes_per_client_s", 20.0);
    }
}
