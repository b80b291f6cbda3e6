//! Which server to dial next, and when.

use crate::time::Instant;

/// The longest pause before a server is dialled again, ms. The pause is random up to this, so
/// that the clients of a lost server do not all arrive at the next one together.
pub const REDIAL_PAUSE: u64 = 1_000;

/// Walks a list of hosts in an order drawn from a seed.
#[derive(Debug)]
pub(super) struct Hosts {
    count: usize,
    /// The next host.
    next: usize,
    /// Distance between hosts dialled one after the other; coprime with `count`.
    stride: usize,
    /// Dials that are still free of a pause: each host gets one.
    eager: usize,
    random: u64,
}

impl Hosts {
    /// `count` hosts (at least one is assumed), in an order that `seed` decides.
    pub(super) fn new(count: usize, seed: u64) -> Self {
        let count = count.max(1);
        let mut hosts = Self { count, next: 0, stride: 1, eager: count, random: seed };
        hosts.next = hosts.below(count);
        let stride = 1 + hosts.below(count);
        hosts.stride = (stride..).find(|&s| coprime(s, count)).unwrap_or(1) % count;
        hosts
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The index of the host to dial.
    pub(super) fn next(&mut self) -> usize {
        let host = self.next;
        self.next = (self.next + self.stride) % self.count;
        self.eager = self.eager.saturating_sub(1);
        host
    }

    /// When the next dial after a failure at `now` may be.
    pub(super) fn redial_at(&mut self, now: Instant) -> Instant {
        if self.eager > 0 { now } else { now.plus(self.below(REDIAL_PAUSE as usize + 1) as u64) }
    }

    /// A number below `n`, by SplitMix64.
    fn below(&mut self, n: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

fn coprime(mut a: usize, mut b: usize) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_host_is_dialled_in_every_round() {
        for count in 1..20 {
            for seed in 0..50 {
                let mut hosts = Hosts::new(count, seed);
                for round in 0..3 {
                    for dial in 0..count {
                        assert_eq!(hosts.eager > 0, round == 0, "dial {dial}");
                    }
                    let seen: BTreeSet<_> = (0..count).map(|_| hosts.next()).collect();
                    assert_eq!(seen.len(), count, "{count} hosts, seed {seed}, round {round}");
                }
            }
        }
    }

    #[test]
    fn only_the_first_round_is_eager() {
        let mut hosts = Hosts::new(2, 7);
        let now = Instant(100);
        hosts.next();
        assert_eq!(hosts.redial_at(now), now);
        hosts.next();
        let pauses: BTreeSet<_> = (0..50).map(|_| hosts.redial_at(now).since(now)).collect();
        assert!(pauses.len() > 10 && pauses.iter().all(|&p| p <= REDIAL_PAUSE), "{pauses:?}");
    }
}
