//! Requests: validated into transactions, applied to the tree, answered.

pub mod apply;
pub mod changes;
pub mod options;
pub mod prep;
pub mod read;
pub mod reply;
