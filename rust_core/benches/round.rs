//! One round: feeders, their sites and their panels, rows binding at every level, half of the
//! connectors on three phases. The same networks as those of `loadstar bench allocate` in kind.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a bench stops at the first fault")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use loadstar_core::units::PHASES;
use loadstar_core::{Allocator, Capacity, Connector, Demand, Network, Workspace, allocate, check};

const CONNECTORS_PER_NODE: usize = 20;
const PANELS_PER_SITE: usize = 10;
const MAX_A: [i64; 10] = [10, 13, 16, 20, 25, 32, 40, 48, 64, 80];

/// Connectors, and the feeders they are under.
const SIZES: [(usize, usize); 4] = [(1_000, 1), (10_000, 1), (100_000, 1), (1_000_000, 100)];

/// A small linear congruential generator (Knuth's MMIX constants): the same network everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn signed_below(&mut self, limit: usize) -> i64 {
        i64::try_from(self.below(limit)).unwrap()
    }
}

struct Problem {
    network: Arc<Network>,
    capacity_ma: Vec<i64>,
    min_ma: Vec<i64>,
    max_ma: Vec<i64>,
    step_ma: Vec<i64>,
    weight: Vec<i64>,
    tier: Vec<u8>,
    rank: Vec<i64>,
}

impl Problem {
    fn new(connectors: usize, feeders: usize) -> Self {
        let mut random = Random(1);
        let nodes = connectors / CONNECTORS_PER_NODE;
        let sites = (nodes - feeders) / (PANELS_PER_SITE + 1);
        let panels = nodes - feeders - sites;
        let index = |at: usize| i32::try_from(at).unwrap();
        let mut node_parent = vec![-1; feeders];
        node_parent.extend((0..sites).map(|site| index(site * feeders / sites)));
        node_parent.extend((0..panels).map(|panel| index(feeders + panel * sites / panels)));
        let leaf_node: Vec<i32> = (0..connectors)
            .map(|leaf| index(feeders + sites + leaf * panels / connectors))
            .collect();
        let leaf_phases: Vec<u8> = (0..connectors)
            .map(|_| if random.below(2) == 0 { 7 } else { 1 << random.below(PHASES) })
            .collect();
        let max_ma: Vec<i64> =
            (0..connectors).map(|_| 1_000 * MAX_A[random.below(MAX_A.len())]).collect();
        let min_ma = vec![6_000; connectors];
        let network = Network::new(&node_parent, &leaf_node, &leaf_phases).unwrap();
        let network = Arc::new(network);
        let mut problem = Self {
            network,
            capacity_ma: Vec::new(),
            step_ma: vec![100; connectors],
            weight: (0..connectors).map(|_| 1 + random.signed_below(4)).collect(),
            tier: vec![0; connectors],
            rank: (0..connectors).map(|_| random.signed_below(1_000_000)).collect(),
            min_ma,
            max_ma,
        };
        let (least, wanted) = (problem.loads(&problem.min_ma), problem.loads(&problem.max_ma));
        problem.capacity_ma = (0..nodes * PHASES)
            .map(|row| {
                let percent = match row / PHASES {
                    node if node < feeders => 38,
                    node if node < feeders + sites => 25 + random.signed_below(50),
                    _ => 20 + random.signed_below(90),
                };
                least[row] + (wanted[row] - least[row]) * percent / 100
            })
            .collect();
        problem
    }

    /// The load of every row if nothing limited it.
    fn loads(&self, current_ma: &[i64]) -> Vec<i64> {
        let unlimited = vec![loadstar_core::units::CAPACITY_MAX_MA; self.network.rows()];
        let capacity = Capacity { import_ma: &unlimited, ..Capacity::default() };
        let demand = Demand { min_ma: current_ma, max_ma: current_ma, ..self.demand() };
        let mut workspace = Workspace::default();
        allocate(&mut workspace, &self.network, &capacity, &demand, 1).unwrap().row_load_ma
    }

    fn capacity(&self) -> Capacity<'_> {
        Capacity { import_ma: &self.capacity_ma, ..Capacity::default() }
    }

    fn demand(&self) -> Demand<'_> {
        Demand {
            min_ma: &self.min_ma,
            max_ma: &self.max_ma,
            step_ma: &self.step_ma,
            weight: &self.weight,
            tier: &self.tier,
            rank: &self.rank,
            ..Demand::default()
        }
    }
}

fn rounds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round");
    group.warm_up_time(Duration::from_secs(1));
    group.measurement_time(Duration::from_secs(3));
    for (connectors, feeders) in SIZES {
        let problem = Problem::new(connectors, feeders);
        let (network, capacity) = (&problem.network, problem.capacity());
        let demand = problem.demand();
        let mut workspace = Workspace::default();
        let given = allocate(&mut workspace, network, &capacity, &demand, 1).unwrap();
        group.throughput(Throughput::Elements(connectors as u64));
        group.sample_size(if connectors > 100_000 { 10 } else { 20 });
        for threads in 1..=feeders.min(2) {
            let name = format!("allocate, threads: {threads}");
            group.bench_function(BenchmarkId::new(name, connectors), |bencher| {
                bencher.iter(|| allocate(&mut workspace, network, &capacity, &demand, threads));
            });
        }
        group.bench_function(BenchmarkId::new("check", connectors), |bencher| {
            bencher.iter(|| check(network, &capacity, &demand, &given.current_ma));
        });
    }
    group.finish();
}

/// A random connector wants another current; the mean of many.
fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change");
    group.sample_size(20).warm_up_time(Duration::from_secs(1));
    group.measurement_time(Duration::from_secs(3));
    for (connectors, feeders) in SIZES {
        let problem = Problem::new(connectors, feeders);
        let network = Arc::clone(&problem.network);
        let mut allocator =
            Allocator::new(network, &problem.capacity(), &problem.demand()).unwrap();
        allocator.solve();
        let mut random = Random(2);
        group.bench_function(BenchmarkId::new("solve", connectors), |bencher| {
            bencher.iter(|| {
                let leaf = random.below(connectors);
                let max_ma = 1_000 * MAX_A[random.below(MAX_A.len())];
                let asks = Connector { max_ma, ..allocator.connector(leaf).unwrap() };
                allocator.set_connector(leaf, asks).unwrap();
                allocator.solve().len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rounds, changes);
criterion_main!(benches);
