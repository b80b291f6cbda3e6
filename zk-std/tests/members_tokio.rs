//! Members of an ensemble, each a task of tokio's: the tests of `members.rs`, once for each kind of
//! runtime.
#![cfg(unix)]
#![allow(clippy::duplicate_mod, reason = "the tests are the same")]

#[path = "members.rs"]
mod current_thread;
#[path = "members.rs"]
mod multi_thread;
