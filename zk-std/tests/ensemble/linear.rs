//! Whether what happened to a register can be explained by one order of all requests that agrees
//! with real time, without looking at zxids: a server that stamps plausible but wrong zxids would
//! otherwise judge itself.
//!
//! The search is that of Wing and Gong, with Lowe's memory of where it has been.

use std::collections::HashSet;

use zk_core::wire::Code;

/// Steps after which a history counts as undecided.
const STEPS: usize = 200_000;

/// What was asked of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ask {
    Create,
    /// With the expected version, -1 for any.
    Set(i32),
    Delete(i32),
}

/// What it was answered: the version afterwards, if the answer has one, or an error.
pub(crate) type Outcome = Result<Option<i32>, Code>;

/// A request to a register.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) ask: Ask,
    /// When it was asked.
    pub(crate) call: u64,
    /// When it was answered, and what; `None` if nobody knows what became of it.
    pub(crate) end: Option<(u64, Outcome)>,
}

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    Illegal,
    /// It took too long.
    Undecided,
}

/// A register: its version, if it is there.
type Register = Option<i32>;

fn does(ask: Ask, register: Register) -> (Outcome, Register) {
    let fits = |expected: i32, version: i32| expected == -1 || expected == version;
    match (ask, register) {
        (Ask::Create, None) => (Ok(Some(0)), Some(0)),
        (Ask::Create, there) => (Err(Code::NodeExists), there),
        (Ask::Set(_) | Ask::Delete(_), None) => (Err(Code::NoNode), None),
        (Ask::Set(expected), Some(version)) if fits(expected, version) => {
            (Ok(Some(version + 1)), Some(version + 1))
        }
        (Ask::Delete(expected), Some(version)) if fits(expected, version) => (Ok(None), None),
        (_, there) => (Err(Code::BadVersion), there),
    }
}

struct Search<'o> {
    ops: &'o [Op],
    done: Vec<u64>,
    /// Answered requests that are not done.
    left: usize,
    seen: HashSet<(Vec<u64>, Register)>,
    steps: usize,
}

impl Search<'_> {
    fn is_done(&self, at: usize) -> bool {
        self.done[at / 64] >> (at % 64) & 1 == 1
    }

    fn mark(&mut self, at: usize) {
        self.done[at / 64] ^= 1 << (at % 64);
    }

    /// Whether the rest can be done, from here on. `None`: it takes too long.
    fn go(&mut self, register: Register) -> Option<bool> {
        if self.left == 0 {
            return Some(true);
        }
        self.steps += 1;
        if self.steps > STEPS {
            return None;
        }
        if !self.seen.insert((self.done.clone(), register)) {
            return Some(false);
        }
        // Whatever was answered first was done before anything that was asked later.
        let open = (0..self.ops.len()).filter(|&at| !self.is_done(at));
        let first = open.filter_map(|at| Some(self.ops[at].end?.0)).min()?;
        let mut unknown: Vec<Ask> = vec![];
        for at in 0..self.ops.len() {
            let Op { ask, call, end } = self.ops[at].clone();
            if self.is_done(at) || call > first {
                continue;
            }
            let (outcome, after) = does(ask, register);
            match end {
                Some((_, told)) if told != outcome => continue,
                Some(_) => {}
                // One of which nothing is known needs to be done only if it changes something, and
                // of several that ask the same any will do.
                None if after == register || unknown.contains(&ask) => continue,
                None => unknown.push(ask),
            }
            self.mark(at);
            self.left -= usize::from(end.is_some());
            if self.go(after)? {
                return Some(true);
            }
            self.mark(at);
            self.left += usize::from(end.is_some());
        }
        Some(false)
    }
}

/// Judges the history of one register.
pub(crate) fn judge(mut ops: Vec<Op>) -> Verdict {
    ops.sort_by_key(|op| op.call);
    let left = ops.iter().filter(|op| op.end.is_some()).count();
    let done = vec![0; ops.len().div_ceil(64)];
    let mut search = Search { ops: &ops, done, left, seen: HashSet::new(), steps: 0 };
    match search.go(None) {
        Some(true) => Verdict::Linearizable,
        Some(false) => Verdict::Illegal,
        None => Verdict::Undecided,
    }
}

#[test]
fn registers_are_judged() {
    let op = |ask, call, end: Option<(u64, Outcome)>| Op { ask, call, end };
    let create = op(Ask::Create, 1, Some((2, Ok(Some(0)))));
    let one = op(Ask::Set(-1), 3, Some((6, Ok(Some(1)))));
    let two = op(Ask::Set(-1), 4, Some((5, Ok(Some(2)))));
    // They overlap: either may be first.
    assert_eq!(judge(vec![create.clone(), one.clone(), two.clone()]), Verdict::Linearizable);
    // The second was answered before the first was asked.
    let late = op(Ask::Set(-1), 7, Some((8, Ok(Some(1)))));
    assert_eq!(judge(vec![create.clone(), late, two.clone()]), Verdict::Illegal);
    // Something of unknown fate explains it, if it was asked in time.
    let lost = op(Ask::Set(0), 3, None);
    assert_eq!(judge(vec![create.clone(), lost, two.clone()]), Verdict::Linearizable);
    let lost = op(Ask::Set(0), 6, None);
    assert_eq!(judge(vec![create.clone(), lost, two]), Verdict::Illegal);
    // An answer that nothing explains.
    let gone = op(Ask::Delete(-1), 3, Some((4, Err(Code::NoNode))));
    assert_eq!(judge(vec![create, gone]), Verdict::Illegal);
}
