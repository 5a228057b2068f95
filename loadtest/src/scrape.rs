//! A gateway's /metrics: fetching them, and quantiles of what a histogram gained between two readings.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};

use crate::http;

/// All samples of one reading, by name with labels as the gateway writes them.
#[derive(Clone, Debug, Default)]
pub struct Reading(BTreeMap<String, f64>);

impl Reading {
    /// Fetches them.
    ///
    /// # Errors
    /// When the gateway does not answer in time, or not with metrics.
    pub async fn fetch(admin: SocketAddr) -> Result<Reading> {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        let page = http::ask(admin, &request).await.with_context(|| format!("http://{admin}/metrics"))?;
        Ok(Reading::parse(&page))
    }

    /// Those of a page.
    #[must_use]
    pub fn parse(text: &str) -> Reading {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Reading(lines.filter_map(sample).collect())
    }

    /// The sum of all samples of a name, whatever their labels.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        let labelled = format!("{name}{{");
        self.0.iter().filter(|(key, _)| *key == name || key.starts_with(&labelled)).map(|(_, value)| value).sum()
    }

    /// One labelled sample; 0 if there is none.
    #[must_use]
    pub fn labelled(&self, name: &str, labels: &str) -> f64 {
        self.0.get(&format!("{name}{{{labels}}}")).copied().unwrap_or(0.0)
    }

    /// What this reading has gained since an earlier one.
    #[must_use]
    pub fn since(&self, earlier: &Reading) -> Reading {
        let gain = |(key, value): (&String, &f64)| (key.clone(), value - earlier.0.get(key).copied().unwrap_or(0.0));
        Reading(self.0.iter().map(gain).collect())
    }

    /// The readings of several gateways as one.
    #[must_use]
    pub fn merged(readings: impl IntoIterator<Item = Reading>) -> Reading {
        let mut sum = Reading::default();
        for (key, value) in readings.into_iter().flat_map(|reading| reading.0) {
            *sum.0.entry(key).or_default() += value;
        }
        sum
    }

    /// A quantile of one hop, ms, on the line between the bucket's ends. `None` when nothing was counted.
    #[must_use]
    pub fn hop_ms(&self, hop: &str, share: f64) -> Option<f64> {
        self.quantile_ms("nearcast_hop_seconds", &format!("hop=\"{hop}\","), share)
    }

    /// The same of a histogram of seconds by its name and labels, each with a comma behind.
    #[must_use]
    pub fn quantile_ms(&self, name: &str, labels: &str, share: f64) -> Option<f64> {
        let prefix = format!("{name}_bucket{{{labels}le=\"");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (key, count) in self.0.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
            let end = key[prefix.len()..].trim_end_matches("\"}");
            buckets.push((if end == "+Inf" { f64::INFINITY } else { end.parse().ok()? }, *count));
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        quantile(&buckets, share).map(|seconds| seconds * 1e3)
    }
}

/// Quantile of cumulative buckets (end, count). In the last, endless bucket it is the end of the one before.
fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let all = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let wanted = all * share;
    let mut below = (0.0, 0.0);
    for &(end, count) in buckets {
        if count >= wanted {
            if end.is_infinite() || count <= below.1 {
                return Some(below.0);
            }
            return Some(below.0 + (end - below.0) * (wanted - below.1) / (count - below.1));
        }
        below = (end, count);
    }
    Some(below.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP x y\nnearcast_ticks_skipped_total 3\n\
        nearcast_refusals_total{reason=\"rate\"} 2\nnearcast_refusals_total{reason=\"speed\"} 5\n\
        nearcast_hop_seconds_bucket{hop=\"freeze\",le=\"0.001\"} 0\n\
        nearcast_hop_seconds_bucket{hop=\"freeze\",le=\"0.01\"} 90\n\
        nearcast_hop_seconds_bucket{hop=\"freeze\",le=\"0.1\"} 100\n\
        nearcast_hop_seconds_bucket{hop=\"freeze\",le=\"+Inf\"} 100\n";

    #[test]
    fn quantiles_come_from_buckets() {
        let reading = Reading::parse(PAGE);
        let check = |share, expected: f64| {
            let ms = reading.hop_ms("freeze", share).expect("counted");
            assert!((ms - expected).abs() < 1e-9, "{share}: {ms}");
        };
        check(0.5, 1.0 + 9.0 * 50.0 / 90.0);
        check(0.9, 10.0);
        check(0.95, 55.0);
        assert_eq!(reading.hop_ms("seen", 0.5), None);
        assert_eq!(reading.since(&reading).hop_ms("freeze", 0.5), None, "nothing new");
    }

    #[test]
    fn sums_ignore_labels() {
        let reading = Reading::parse(PAGE);
        assert!((reading.sum("nearcast_refusals_total") - 7.0).abs() < 1e-9);
        assert!((reading.sum("nearcast_ticks_skipped_total") - 3.0).abs() < 1e-9);
        let both = Reading::merged([reading.clone(), reading]);
        assert!((both.sum("nearcast_refusals_total") - 14.0).abs() < 1e-9);
    }
}
