//! What a switch does with frames: a function of frames, time and a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Frames that are on their way at once; a switch without room loses the newest.
pub(crate) const FRAMES_MAX: usize = 4096;

/// Hardware addresses that are remembered; frames to others go everywhere.
pub(crate) const ADDRESSES_MAX: usize = 64;

/// Bytes of a frame: two addresses, a type, and what an Ethernet takes at most.
const SHORTEST: usize = 14;
pub(crate) const LONGEST: usize = 1514;

/// Frames lost of 1,000,000.
pub(crate) const MILLION: u32 = 1_000_000;

/// Where a cable is plugged in.
pub(crate) type Port = usize;

/// Microseconds since the switch was there.
pub(crate) type Micros = u64;

/// What became of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Put out at a port.
    pub(crate) sent: u64,
    /// Lost by chance, as was asked for.
    pub(crate) lost: u64,
    /// Held back by a cut.
    pub(crate) cut: u64,
    /// Lost because too many were on their way.
    pub(crate) full: u64,
    /// No frames: too short, too long, from nobody.
    pub(crate) odd: u64,
}

/// Numbers that a seed gives (SplitMix64).
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..end`; 0 if there is none.
    fn below(&mut self, end: u64) -> u64 {
        // The bias is that of 64 bits.
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}

/// A frame on its way. Those of one moment leave in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    at: Micros,
    order: u64,
    to: Port,
    frame: Vec<u8>,
}

/// A switch, without its cables.
#[derive(Debug)]
pub(crate) struct Fabric {
    ports: usize,
    /// Which addresses are behind which port.
    learned: Vec<([u8; 6], Port)>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    order: u64,
    chance: Chance,
    /// Of a million frames.
    loss: u32,
    /// The shortest and the longest delay.
    delay: (Micros, Micros),
    /// By from and to, one row after the other.
    cuts: Vec<bool>,
    counts: Counts,
}

impl Fabric {
    /// A switch with so many ports, without faults.
    pub(crate) fn new(ports: usize, seed: u64) -> Self {
        Self {
            ports,
            learned: Vec::new(),
            waiting: BinaryHeap::new(),
            order: 0,
            chance: Chance(seed),
            loss: 0,
            delay: (0, 0),
            cuts: vec![false; ports * ports],
            counts: Counts::default(),
        }
    }

    /// What became of frames so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// From now on so many of a million frames are lost.
    pub(crate) fn lose(&mut self, of_a_million: u32) {
        self.loss = of_a_million.min(MILLION);
    }

    /// From now on each frame takes from `least` to `most`: where they differ, frames overtake each
    /// other.
    pub(crate) fn delay(&mut self, least: Micros, most: Micros) {
        self.delay = (least, most.max(least));
    }

    /// Nothing comes from `from` to `to` any more, not even what is on its way.
    pub(crate) fn cut_way(&mut self, from: Port, to: Port) {
        if from < self.ports && to < self.ports {
            self.cuts[from * self.ports + to] = true;
        }
    }

    /// Two ports hear nothing of each other.
    pub(crate) fn cut_pair(&mut self, one: Port, other: Port) {
        self.cut_way(one, other);
        self.cut_way(other, one);
    }

    /// A cable is pulled out.
    pub(crate) fn cut(&mut self, port: Port) {
        for other in 0..self.ports {
            self.cut_pair(port, other);
        }
    }

    /// No cut is left, nothing is lost, nothing takes time.
    pub(crate) fn heal(&mut self) {
        self.cuts.fill(false);
        (self.loss, self.delay) = (0, (0, 0));
    }

    fn is_cut(&self, from: Port, to: Port) -> bool {
        self.cuts[from * self.ports + to]
    }

    /// A frame comes in at a port.
    pub(crate) fn receive(&mut self, now: Micros, from: Port, frame: &[u8]) {
        let (Some(to), Some(source)) = (frame.first_chunk::<6>(), frame.get(6..12)) else {
            self.counts.odd += 1;
            return;
        };
        if from >= self.ports || !(SHORTEST..=LONGEST).contains(&frame.len()) || source[0] & 1 == 1
        {
            self.counts.odd += 1;
            return;
        }
        self.learn(source, from);
        let known = self.learned.iter().find(|(address, _)| address == to);
        match known.map(|(_, port)| *port) {
            Some(port) if port == from => {}
            Some(port) => self.pass(now, from, port, frame),
            None => {
                for port in (0..self.ports).filter(|port| *port != from) {
                    self.pass(now, from, port, frame);
                }
            }
        }
    }

    fn learn(&mut self, source: &[u8], from: Port) {
        if let Some(known) = self.learned.iter_mut().find(|(address, _)| address == source) {
            known.1 = from;
        } else if self.learned.len() < ADDRESSES_MAX
            && let Some(address) = source.first_chunk()
        {
            self.learned.push((*address, from));
        }
    }

    fn pass(&mut self, now: Micros, from: Port, to: Port, frame: &[u8]) {
        // Chance is asked for every frame, so that a cut does not change what happens to others.
        let lost = self.chance.below(MILLION.into()) < self.loss.into();
        let (least, most) = self.delay;
        let takes = least + self.chance.below(most - least + 1);
        let counts = &mut self.counts;
        if self.cuts[from * self.ports + to] {
            counts.cut += 1;
        } else if lost {
            counts.lost += 1;
        } else if self.waiting.len() >= FRAMES_MAX {
            counts.full += 1;
        } else {
            self.order += 1;
            // Where it came from is kept in the order: a cut holds back what is on its way.
            let order = self.order * self.ports as u64 + from as u64;
            self.waiting.push(Reverse(Waiting { at: now + takes, order, to, frame: frame.into() }));
        }
    }

    /// The next frame that is due, and where it goes.
    pub(crate) fn send(&mut self, now: Micros) -> Option<(Port, Vec<u8>)> {
        while self.due().is_some_and(|at| at <= now) {
            let Reverse(Waiting { order, to, frame, .. }) = self.waiting.pop()?;
            let from = (order % self.ports as u64) as Port;
            if self.is_cut(from, to) {
                self.counts.cut += 1;
            } else {
                self.counts.sent += 1;
                return Some((to, frame));
            }
        }
        None
    }

    /// When the next frame is due.
    pub(crate) fn due(&self) -> Option<Micros> {
        self.waiting.peek().map(|Reverse(next)| next.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(to: u8, from: u8, says: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0];
        if to == 0xff {
            frame[..6].fill(0xff);
        }
        frame.push(says);
        frame
    }

    fn sent(fabric: &mut Fabric, now: Micros) -> Vec<(Port, u8)> {
        core::iter::from_fn(|| fabric.send(now)).map(|(to, frame)| (to, frame[14])).collect()
    }

    #[test]
    fn addresses_are_learned() {
        let mut fabric = Fabric::new(4, 1);
        fabric.receive(0, 1, &frame(2, 1, 7));
        assert_eq!(sent(&mut fabric, 0), [(0, 7), (2, 7), (3, 7)]);
        fabric.receive(0, 2, &frame(1, 2, 8));
        assert_eq!(sent(&mut fabric, 0), [(1, 8)]);
        fabric.receive(0, 1, &frame(2, 1, 9));
        assert_eq!(sent(&mut fabric, 0), [(2, 9)]);
        // It was plugged in elsewhere.
        fabric.receive(0, 3, &frame(1, 2, 10));
        fabric.receive(0, 1, &frame(2, 1, 11));
        assert_eq!(sent(&mut fabric, 0), [(1, 10), (3, 11)]);
        // To itself, and to all.
        fabric.receive(0, 1, &frame(1, 1, 12));
        fabric.receive(0, 3, &frame(0xff, 2, 13));
        assert_eq!(sent(&mut fabric, 0), [(0, 13), (1, 13), (2, 13)]);
        assert_eq!(fabric.counts(), Counts { sent: 10, ..Counts::default() });
    }

    #[test]
    fn what_is_no_frame_goes_nowhere() {
        let mut fabric = Fabric::new(2, 1);
        let mut group = frame(1, 2, 0);
        group[6] = 1;
        for odd in [&[][..], &[2; 13], &[2; LONGEST + 1], &group] {
            fabric.receive(0, 0, odd);
        }
        fabric.receive(0, 2, &frame(1, 2, 0));
        assert_eq!(fabric.counts(), Counts { odd: 5, ..Counts::default() });
        let mut longest = frame(1, 2, 0);
        longest.resize(LONGEST, 0);
        fabric.receive(0, 0, &longest);
        assert_eq!(fabric.send(0), Some((1, longest)));
    }

    #[test]
    fn cuts_hold_until_they_heal() {
        let mut fabric = Fabric::new(3, 1);
        let all = |fabric: &mut Fabric, now| {
            for port in 0..3 {
                fabric.receive(now, port, &frame(0xff, port as u8, port as u8));
            }
            let mut heard: Vec<_> =
                sent(fabric, now).into_iter().map(|(to, from)| (from, to)).collect();
            heard.sort_unstable();
            heard
        };
        assert_eq!(all(&mut fabric, 0), [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]);
        fabric.cut_way(1, 2);
        assert_eq!(all(&mut fabric, 0), [(0, 1), (0, 2), (1, 0), (2, 0), (2, 1)]);
        fabric.cut_pair(0, 2);
        assert_eq!(all(&mut fabric, 0), [(0, 1), (1, 0), (2, 1)]);
        fabric.cut(1);
        assert_eq!(all(&mut fabric, 0), []);
        fabric.heal();
        assert_eq!(all(&mut fabric, 0).len(), 6);
        // A cable that is pulled out takes what was on its way.
        fabric.delay(5, 5);
        fabric.receive(0, 0, &frame(0xff, 0, 1));
        fabric.cut_pair(0, 2);
        assert_eq!(sent(&mut fabric, 5), [(1, 1)]);
        // Nobody is there.
        fabric.cut_way(7, 0);
        fabric.cut(9);
    }

    #[test]
    fn delays_are_kept_and_order_with_them() {
        let mut fabric = Fabric::new(2, 1);
        fabric.delay(100, 100);
        for says in 0..10 {
            fabric.receive(u64::from(says), 0, &frame(1, 0, says));
        }
        assert_eq!((fabric.due(), sent(&mut fabric, 99)), (Some(100), vec![]));
        assert_eq!(sent(&mut fabric, 104), [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]);
        assert_eq!(fabric.due(), Some(105));
        assert_eq!(sent(&mut fabric, 1000).len(), 5);
        assert_eq!(fabric.due(), None);
        // From 0 to 1000: they overtake each other.
        fabric.delay(0, 1000);
        for says in 0..100 {
            fabric.receive(0, 0, &frame(1, 0, says));
        }
        let heard = sent(&mut fabric, 1000);
        assert_eq!(heard.len(), 100);
        assert!(!heard.is_sorted());
    }

    #[test]
    fn a_share_is_lost_and_the_seed_says_which() {
        let run = |seed| {
            let mut fabric = Fabric::new(2, seed);
            fabric.lose(50_000);
            for _ in 0..FRAMES_MAX / 2 {
                for says in [0, 1] {
                    fabric.receive(0, 0, &frame(1, 0, says));
                }
                while fabric.send(0).is_some() {}
            }
            fabric.counts()
        };
        let counts = run(7);
        assert_eq!(counts.sent + counts.lost, FRAMES_MAX as u64);
        // 5 of 100, give or take.
        assert!((100..310).contains(&counts.lost), "{counts:?}");
        assert_eq!(run(7), counts);
        assert_ne!(run(8), counts);
    }

    #[test]
    fn the_same_seed_does_the_same_to_each_frame() {
        let run = || {
            let mut fabric = Fabric::new(2, 3);
            fabric.lose(MILLION / 2);
            fabric.delay(1, 50);
            let mut heard = Vec::new();
            for says in 0..200 {
                fabric.receive(u64::from(says), 0, &frame(1, 0, says));
                heard.extend(sent(&mut fabric, u64::from(says)));
            }
            heard
        };
        assert_eq!(run(), run());
        assert!(run().len() > 50);
    }

    #[test]
    fn what_is_on_its_way_is_bounded() {
        let mut fabric = Fabric::new(2, 1);
        for _ in 0..FRAMES_MAX + 3 {
            fabric.receive(0, 0, &frame(1, 0, 0));
        }
        assert_eq!(fabric.counts(), Counts { full: 3, ..Counts::default() });
        for port in 0..=255 {
            fabric.receive(0, 0, &frame(9, port, 0));
        }
        assert_eq!(fabric.learned.len(), ADDRESSES_MAX);
        fabric.lose(u32::MAX);
        assert_eq!(sent(&mut fabric, 0).len(), FRAMES_MAX);
        fabric.receive(0, 0, &frame(1, 0, 0));
        assert_eq!(sent(&mut fabric, 0), []);
    }
}
