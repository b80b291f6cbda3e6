//! A whole ensemble in virtual time: peers with the real file store on simulated disks, links that
//! delay, cut and break, clients that pipeline, and faults of every kind.
//!
//! A run has a *safety phase*, in which anything may break, and a *liveness phase*: everything is
//! healed, and the ensemble must agree, serve, and have every acknowledged write.
//!
//! `ZK_SIM_SEED=n` replays one seed, `ZK_SIM_SEEDS=n` runs so many, `ZK_SIM_FROM=n` begins there,
//! `ZK_SIM_TRACE=1` prints what happens.

mod client;
mod net;
mod node;
mod world;

use world::{Met, World};

/// Seeds of an ordinary run.
const SEEDS: u64 = 200;

fn run(seed: u64) -> Met {
    let mut world = World::new(seed);
    world.safety();
    world.liveness();
    world.met
}

/// Prints what the peers say.
struct Print;

impl log::Log for Print {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        println!("        {}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn an_ensemble_keeps_its_promises() {
    if let Some(seed) = variable("ZK_SIM_SEED") {
        if variable("ZK_SIM_TRACE").is_some() {
            log::set_logger(&Print).unwrap();
            log::set_max_level(log::LevelFilter::Info);
        }
        println!("{:#?}", run(seed));
        return;
    }
    let from = variable("ZK_SIM_FROM").unwrap_or(0);
    let seeds = variable("ZK_SIM_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let all: Vec<Met> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    (from + worker..from + seeds)
                        .step_by(threads as usize)
                        .map(|seed| {
                            std::panic::catch_unwind(|| run(seed))
                                .unwrap_or_else(|_| panic!("replay with ZK_SIM_SEED={seed}"))
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let sum = all.iter().fold(Met::default(), |sum, met| sum.plus(met));
    println!("{seeds} seeds: {sum:#?}");
    for (what, times) in sum.counts() {
        assert!(times > 0, "{what}: never met");
    }
}
