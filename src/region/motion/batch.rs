//! Samples of one flush, put into one record per partition.

use bytes::Bytes;

use crate::codec::record::{MotionWriter, Sample, Stamp};
use crate::limits::RECORD_BYTES_MAX;

/// Puts samples into records: one per partition, more only where it would exceed [`RECORD_BYTES_MAX`]. Within a
/// partition the order of the samples stays.
pub fn records(stamp: Stamp, samples: &mut Vec<(u16, Sample)>, mut publish: impl FnMut(u16, Bytes)) {
    samples.sort_by_key(|(partition, _)| *partition);
    let mut open: Option<(u16, MotionWriter)> = None;
    for (partition, sample) in samples.drain(..) {
        if let Some((at, writer)) = open.take_if(|(at, w)| *at != partition || w.len() >= RECORD_BYTES_MAX) {
            publish(at, writer.finish());
        }
        open.get_or_insert_with(|| (partition, MotionWriter::new(stamp))).1.push(&sample);
    }
    if let Some((at, writer)) = open {
        publish(at, writer.finish());
    }
}
