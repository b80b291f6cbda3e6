//! Elections: scripts that show every message, and many random ones.
//!
//! `testdata/election/*.txt` are scripts: a command, `----`, and what happens. `ZK_REWRITE=1`
//! writes what happens into them. See [`script`] for the commands.

mod network;
mod random;
mod script;
