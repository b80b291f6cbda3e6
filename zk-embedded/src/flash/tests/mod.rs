//! The store over a flash that tears, rots and wears.

mod cuts;
mod damage;
mod lying;
mod peers;
mod rules;
mod world;

use super::simulated::Fault;
