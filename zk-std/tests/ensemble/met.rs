//! What a run met, so that nothing is tested in name only.

use zk_core::zab::sync::Counts;

macro_rules! met {
    ($($group:ident { $($name:ident: $what:literal,)* })*) => {
        /// Counts of everything that a run is to meet.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Met {
            $($(pub(crate) $name: u64,)*)*
        }

        impl Met {
            /// Both together.
            pub(crate) fn plus(&self, other: &Self) -> Self {
                Self { $($($name: self.$name + other.$name,)*)* }
            }

            /// Each with its name, by group.
            pub(crate) fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$($((stringify!($group), $what, self.$name),)*)*]
            }
        }
    };
}

met! {
    work {
        acknowledged: "acknowledged writes",
        failed: "writes that were answered with an error",
        read: "reads that were answered",
        events: "watch events",
        events_late: "watch events after a reconnect",
        sessions: "sessions",
        expired: "sessions that expired",
        moved: "clients that left without a word",
        returned: "sessions that went on elsewhere",
        synced: "syncs that were answered",
        linear: "registers that were linearized blindly",
        undecided: "registers whose history was too long to judge",
        probed: "acknowledgements held against what a crash would leave",
        reigns: "reigns",
        messages: "messages between members",
        carried: "of them on channels of the compact dialect",
    }
    faults {
        kills: "killed processes",
        power_offs: "machines that were switched off",
        power_cuts: "power cuts between two operations of a disk",
        failed_syncs: "syncs that failed",
        slow_disks: "slow disks",
        full_disks: "full disks",
        rotten: "bits that rotted in snapshots and logs",
        wiped: "disks that were lost",
        short_reads: "disks that read short",
        breaks: "broken connections",
        half_open: "half-open connections",
        one_way: "cuts of one direction",
        cuts: "cuts of both directions",
        partitions: "partitions",
        swizzles: "swizzle-clogs",
        delays: "changes of the network's delay",
        pauses: "pauses of a process",
        jumps: "jumps of a wall clock",
    }
    reconfig {
        proposed: "reconfigurations that were proposed",
        in_force: "reconfigurations that came into force",
        joined: "servers that joined",
        left: "servers that left",
        role_changed: "servers that changed roles",
        leader_left: "leaders that left, or lost their vote",
        bad_version: "refused, as for another version",
        no_quorum: "refused, as there is no quorum for it",
        in_progress: "refused, as another is under way",
        adopted: "reconfigurations that another leader committed",
        vanished: "reconfigurations that came to nothing",
        found: "starts with a configuration that is only proposed",
        introduced: "servers that an operator told the members",
        rescued: "members that an operator had to tell the others",
        shown: "configurations that clients were shown",
    }
    capacity {
        small: "runs whose members hold little",
        larger: "... with an observer that holds more",
        smaller: "... with an observer that holds less",
        refused: "writes that were refused, as there is no room",
        crowded: "clients that were refused, as there are too many sessions",
        freed: "deletes and closed sessions where nothing else fits",
        retreated: "proposals and snapshots that were not taken, as they do not fit",
        came_back: "small observers that came back",
    }
    flash {
        flash: "runs with members whose history is in flash",
        flash_mixed: "... beside members with files",
        flash_programs_cut: "power cuts within a program of a flash",
        flash_erases_cut: "power cuts within an erase",
        flash_rotten: "bits that rotted in a flash",
        flash_rot_found: "... and were found at the start",
        flash_wiped: "boards whose flash was lost",
        flash_laps: "times that a whole flash was erased",
        flash_back: "boards that came back, and serve",
    }
    misreads {
        stale: "sectors that were read as they were before",
        misdirected: "sectors that were read as others",
        unseen: "... that would pass for the end of a log, and were left out",
        misread_seen: "starts without a history to trust, as it is read wrongly",
        misread_harmless: "starts with all of the history, although it is read wrongly",
    }
    apache {
        apache: "runs with a member whose learner is like Apache's",
        in_memory: "proposals that it had in memory only, before UPTODATE",
        forgotten: "... and has forgotten",
        unheard: "pings that it did not look at",
        needed: "transactions that were committed with its acknowledgement, and not without",
    }
    consequences {
        damaged: "starts without a history to trust, and without a vote",
        full_stops: "processes that ended over a full disk",
        truncations: "histories that were cut",
        snapshots: "histories that a snapshot replaced",
    }
    sync {
        diff_nothing: "DIFF with nothing",
        diff_window: "DIFF from the window",
        diff_log: "DIFF from the log on the disk",
        diff_led: "DIFF after leading",
        trunc_last: "TRUNC to the last transaction",
        snap_damaged: "SNAP for a damaged history",
        snap_led: "SNAP after leading",
        snap_before_log: "SNAP for a history that ends before the log",
        snap_not_in_log: "SNAP for a transaction that the log does not have",
        snap_diverged: "SNAP for a transaction that nobody else has",
        demoted: "learners that fell behind the window",
    }
}

impl Met {
    /// Faults of all kinds.
    pub(crate) fn faults(&self) -> u64 {
        self.counts().iter().filter(|(group, ..)| *group == "faults").map(|(.., n)| n).sum()
    }

    /// Adds how a peer has brought its learners in line.
    pub(crate) fn add_syncs(&mut self, counts: &Counts) {
        self.diff_nothing += counts.diff_nothing;
        self.diff_window += counts.diff_window;
        self.diff_log += counts.diff_log;
        self.diff_led += counts.diff_led;
        self.trunc_last += counts.trunc_last;
        self.snap_damaged += counts.snap_damaged;
        self.snap_led += counts.snap_led;
        self.snap_before_log += counts.snap_before_log;
        self.snap_not_in_log += counts.snap_not_in_log;
        self.snap_diverged += counts.snap_diverged;
        self.demoted += counts.demoted;
        // Histories have no holes, so there is no earlier transaction of the same epoch to go back
        // to that the learner does not have.
        assert_eq!(counts.trunc_between, 0, "a TRUNC into the middle of an epoch");
    }
}

/// What need not be met.
pub(crate) const MAY_BE_ZERO: &str = "registers whose history was too long to judge";
