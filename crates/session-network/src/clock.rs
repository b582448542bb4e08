//! The network's clock, from what nodes say about theirs.
//!
//! Seeds, the nodes that give lists of nodes, and nodes that are asked for `info` tell their time. No other answer counts:
//! the nodes of a mailbox are chosen by its address, which a hostile person can choose. The offset is the median over three
//! nodes. Of fewer, two must agree within a minute; the local clock counts as one of the two.

use std::time::{Duration, Instant};

/// Number of nodes from which the median is taken.
const NODES: usize = 3;
/// The earliest and the latest time that a clock may show: 2025 to 2100, milliseconds since 1970.
const PLAUSIBLE_MS: core::ops::Range<u64> = 1_735_689_600_000..4_102_444_800_000;
/// Difference up to which two clocks agree, milliseconds. Nodes accept calls whose time differs by as much.
const AGREED_MS: u64 = 60_000;
/// Difference between the system's clock and the time that passed, above which the clock was set, milliseconds.
const JUMP_MS: i128 = 5000;

/// Tells the system's time since 1970. Handed in by tests.
pub type SystemClock = std::sync::Arc<dyn Fn() -> Duration + Send + Sync>;

/// A look at both local clocks: the one that can be set, and the one that only runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// The system's time, milliseconds since 1970.
    pub(crate) wall_ms: u64,
    pub(crate) running: Instant,
}

impl Reading {
    /// Returns true if the system's clock was set between the two readings. A computer that slept looks the same.
    fn was_set_since(self, earlier: Self) -> bool {
        let shown = i128::from(self.wall_ms) - i128::from(earlier.wall_ms);
        let passed = self.running.saturating_duration_since(earlier.running);
        let passed = i128::try_from(passed.as_millis()).unwrap_or(i128::MAX);
        shown.saturating_sub(passed).abs() > JUMP_MS
    }
}

/// The offset that one node told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    node: [u8; 32],
    offset_ms: i64,
    /// The local clocks in the middle of the call.
    at: Reading,
}

impl Sample {
    /// The time of a node. `None` for a time that no clock should show.
    pub(crate) fn new(node: [u8; 32], node_ms: u64, at: Reading) -> Option<Self> {
        let offset = i128::from(node_ms) - i128::from(at.wall_ms);
        PLAUSIBLE_MS.contains(&node_ms).then_some(Self {
            node,
            offset_ms: i64::try_from(offset).ok()?,
            at,
        })
    }
}

/// The offsets that nodes told in this run, the newest last, and the one that an earlier run kept.
#[derive(Debug, Default, Clone)]
pub(crate) struct Offsets {
    samples: Vec<Sample>,
    kept_ms: Option<i64>,
    /// True if the system's clock was set since the nodes told their time.
    was_set: bool,
}

impl Offsets {
    /// Remembers the time of a node.
    pub(crate) fn add(&mut self, sample: Sample) {
        self.samples.retain(|known| known.node != sample.node);
        self.samples.push(sample);
        if self.samples.len() > NODES {
            self.samples.remove(0);
        }
        self.was_set = false;
    }

    /// Remembers the offset of an earlier run. The system's clock may have been set since.
    pub(crate) fn keep(&mut self, offset_ms: i64) {
        self.kept_ms = Some(offset_ms);
    }

    /// Replaces the times of all nodes by these.
    pub(crate) fn replace(&mut self, samples: impl IntoIterator<Item = Sample>) {
        self.samples.clear();
        for sample in samples {
            self.add(sample);
        }
    }

    /// Drops what was measured against another setting of the system's clock.
    fn drop_outdated(&mut self, now: Reading) {
        let before = self.samples.len();
        self.samples.retain(|sample| !now.was_set_since(sample.at));
        if self.samples.len() < before {
            self.was_set |= self.samples.is_empty();
            self.kept_ms = None;
        }
    }

    /// Offset to add to the local clock, milliseconds. `None` if no nodes told it, or they do not agree.
    pub(crate) fn offset_ms(&mut self, now: Reading) -> Option<i64> {
        self.drop_outdated(now);
        let mut offsets: Vec<_> = self.samples.iter().map(|sample| sample.offset_ms).collect();
        let agrees = |a: i64, b: i64| a.abs_diff(b) <= AGREED_MS;
        if offsets.len() >= NODES {
            offsets.sort_unstable();
            let median = offsets[NODES / 2];
            let others = offsets.iter().filter(|other| agrees(**other, median)).count();
            return (others > 1).then_some(median);
        }
        let Some(&first) = offsets.first() else {
            return self.kept_ms;
        };
        if let [one, other] = offsets[..]
            && agrees(one, other)
        {
            return Some(one);
        }
        // The local clock confirms what one node says, and so does what an earlier run was told.
        let is_confirmed = |offset: &i64| {
            let mut witnesses = [0].into_iter().chain(self.kept_ms);
            witnesses.any(|witness| agrees(*offset, witness))
        };
        // Any node is a better guess than a clock that cannot be right.
        let is_absurd = !PLAUSIBLE_MS.contains(&now.wall_ms);
        let confirmed = offsets.iter().find(|offset| is_confirmed(offset)).copied();
        confirmed.or(is_absurd.then_some(first))
    }

    /// Returns true if the median of three nodes is known, from this run and for this setting of the system's clock.
    pub(crate) fn is_median(&mut self, now: Reading) -> bool {
        self.offset_ms(now).is_some() && self.samples.len() >= NODES
    }

    /// Returns true if more nodes should be asked: those that told their time do not agree, the system's clock was set since, or
    /// only an earlier run knew that this clock is wrong.
    pub(crate) fn is_unsettled(&mut self, now: Reading) -> bool {
        match self.offset_ms(now) {
            None => !self.samples.is_empty() || self.was_set,
            Some(offset) => self.samples.is_empty() && offset.unsigned_abs() > AGREED_MS,
        }
    }

    /// The network's time. `None` if no node told it and the local clock cannot be right.
    pub(crate) fn network_ms(&mut self, now: Reading) -> Option<u64> {
        let time = now
            .wall_ms
            .saturating_add_signed(self.offset_ms(now).unwrap_or(0));
        PLAUSIBLE_MS.contains(&time).then_some(time)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_796_000_000_000;
    const HOUR: i64 = 3_600_000;

    fn at(wall_ms: u64, running: Instant) -> Reading {
        Reading { wall_ms, running }
    }

    fn sample(node: u8, offset_ms: i64, at: Reading) -> Sample {
        Sample::new([node; 32], at.wall_ms.saturating_add_signed(offset_ms), at).expect("plausible")
    }

    #[test]
    fn one_or_two_nodes_move_the_clock_only_if_they_agree() {
        let now = at(NOW, Instant::now());
        let of = |samples: &[i64]| {
            let mut offsets = Offsets::default();
            for (node, offset) in (1..).zip(samples) {
                offsets.add(sample(node, *offset, now));
            }
            (
                offsets.offset_ms(now),
                offsets.is_median(now),
                offsets.is_unsettled(now),
            )
        };
        assert_eq!(of(&[]), (None, false, false));
        assert_eq!(of(&[500]), (Some(500), false, false), "the local clock agrees");
        assert_eq!(of(&[HOUR]), (None, false, true), "one node alone");
        assert_eq!(
            of(&[HOUR, HOUR + 900]),
            (Some(HOUR), false, false),
            "two that agree"
        );
        assert_eq!(of(&[HOUR, 2 * HOUR]), (None, false, true), "two that differ");
        assert_eq!(
            of(&[HOUR, 300]),
            (Some(300), false, false),
            "one and the local clock"
        );
        assert_eq!(
            of(&[HOUR, 700, 9 * HOUR]),
            (None, false, true),
            "three that differ"
        );
        assert_eq!(of(&[500, 9 * HOUR, 700]), (Some(700), true, false), "the median");
        let mut offsets = Offsets::default();
        for _ in 0..5 {
            offsets.add(sample(2, 9 * HOUR, now));
        }
        assert_eq!(offsets.offset_ms(now), None, "a node counts once");
        assert!(Sample::new([4; 32], 0, now).is_none() && Sample::new([4; 32], u64::MAX, now).is_none());
    }

    #[test]
    fn a_clock_of_1970_is_corrected_by_one_node() {
        let now = at(5, Instant::now());
        let mut offsets = Offsets::default();
        assert_eq!(offsets.network_ms(now), None);
        offsets.add(Sample::new([1; 32], NOW, now).expect("plausible"));
        assert_eq!(offsets.network_ms(at(6, now.running)), Some(NOW + 1));
        assert!(!offsets.is_median(now));
    }

    #[test]
    fn times_are_dropped_when_the_system_clock_is_set() {
        let start = Instant::now();
        let mut offsets = Offsets::default();
        for node in 1..=3 {
            offsets.add(sample(node, 40, at(NOW, start)));
        }
        offsets.keep(40);
        let day = Duration::from_hours(24);
        let later = at(NOW + 24 * 3_600_000 + 900, start + day);
        assert!(
            offsets.is_median(later) && !offsets.is_unsettled(later),
            "a day passed"
        );
        for set in [at(NOW, start + day), at(NOW + 48 * 3_600_000, start + day)] {
            let mut offsets = offsets.clone();
            assert_eq!(offsets.offset_ms(set), None);
            assert!(!offsets.is_median(set) && offsets.is_unsettled(set));
            offsets.add(sample(1, 40, set));
            assert!(!offsets.is_unsettled(set));
        }
    }

    #[test]
    fn the_offset_of_an_earlier_run_is_no_median_and_is_checked_if_it_is_long() {
        let now = at(NOW, Instant::now());
        let mut offsets = Offsets::default();
        offsets.keep(40);
        assert_eq!(offsets.offset_ms(now), Some(40));
        assert!(!offsets.is_median(now) && !offsets.is_unsettled(now));
        offsets.keep(HOUR);
        assert!(offsets.is_unsettled(now));
        offsets.add(sample(1, HOUR + 7, now));
        assert_eq!(offsets.offset_ms(now), Some(HOUR + 7), "one node confirms it");
        offsets.replace([sample(5, 10, now)]);
        assert_eq!(offsets.offset_ms(now), Some(10));
    }

    proptest! {
        #[test]
        fn one_liar_among_three_moves_the_clock_by_less_than_the_others_differ(
            honest in prop::array::uniform2(-900_i64..900), lie in any::<i32>(), place in 0..3_usize,
        ) {
            let now = at(NOW, Instant::now());
            let mut told = honest.to_vec();
            told.insert(place.min(2), i64::from(lie));
            let mut offsets = Offsets::default();
            for (node, offset) in (1..).zip(told) {
                offsets.add(sample(node, offset, now));
            }
            let offset = offsets.offset_ms(now).expect("two agree");
            let (low, high) = (honest[0].min(honest[1]), honest[0].max(honest[1]));
            prop_assert!((low..=high).contains(&offset));
        }
    }
}
