//! Rows of vectors bound what flows: safely, and within a per cent of what is possible.

#![allow(clippy::unwrap_used, reason = "a test stops at the first fault")]

use loadstar_core::electrical::{
    VECTOR_SCALE, delta_wye_primary_row, imbalance_row, line_current_row, total_power_row,
};
use loadstar_core::units::{CAPACITY_MAX_MA, KINDS};
use loadstar_core::{
    Capacity, Coefficients, Demand, Description, Network, NetworkError, Workspace, allocate,
    certify,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Connections of one panel: kind and maximum.
type Connections = Vec<(usize, i64)>;

const PHASES_OF: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 0b011, 0b110, 0b101];

/// What a panel's connectors are given below a single row, and whether it stopped one of them.
fn given(connections: &Connections, row: Coefficients, limit: i64) -> (Vec<i64>, bool) {
    let count = connections.len();
    let phases: Vec<u8> = connections.iter().map(|&(kind, _)| PHASES_OF[kind]).collect();
    let kinds: Vec<u8> = connections.iter().map(|&(kind, _)| u8::try_from(kind).unwrap()).collect();
    let max_ma: Vec<i64> = connections.iter().map(|&(_, max_ma)| max_ma).collect();
    let network = Network::build(&Description {
        node_parent: &[-1],
        leaf_node: &vec![0; count],
        leaf_phases: &phases,
        leaf_kind: &kinds,
        combined_node: &[0],
        combined_coefficient: &[row],
        ..Description::default()
    })
    .unwrap();
    let capacity =
        Capacity { import_ma: &[CAPACITY_MAX_MA; 3], combined: &[limit], ..Capacity::default() };
    let demand = Demand {
        min_ma: &vec![0; count],
        max_ma: &max_ma,
        step_ma: &vec![100; count],
        weight: &vec![1; count],
        tier: &vec![0; count],
        rank: &vec![0; count],
        ..Demand::default()
    };
    let round = allocate(&mut Workspace::default(), &network, &capacity, &demand, 1).unwrap();
    assert_eq!(certify(&network, &capacity, &demand, &round).unwrap(), vec![]);
    let stopped = round.binding_row.contains(&3);
    (round.current_ma, stopped)
}

/// The sum of the currents of each kind.
fn by_kind(connections: &Connections, current_ma: &[i64]) -> [f64; KINDS] {
    let mut sums = [0.0; KINDS];
    for (&(kind, _), &current_ma) in connections.iter().zip(current_ma) {
        sums[kind] += f64::from(i32::try_from(current_ma).unwrap());
    }
    sums
}

/// Phasors of the currents on L1, L2 and L3, from the connections themselves.
fn lines(sums: &[f64; KINDS]) -> [[f64; 2]; 3] {
    let unit = |degrees: f64| [degrees.to_radians().cos(), degrees.to_radians().sin()];
    let voltage = [unit(0.0), unit(-120.0), unit(120.0)];
    let mut lines = [[0.0; 2]; 3];
    for (kind, &sum) in sums.iter().enumerate().take(11) {
        if kind < 8 {
            for line in (0..3).filter(|line| kind >> line & 1 == 1) {
                lines[line] = [0, 1].map(|part| lines[line][part] + sum * voltage[line][part]);
            }
            continue;
        }
        let (from, to) = (kind - 8, (kind - 7) % 3);
        // In phase with the voltage between the two lines.
        let along = [0, 1].map(|part| voltage[from][part] - voltage[to][part]);
        let length = f64::hypot(along[0], along[1]);
        for (line, sign) in [(from, 1.0), (to, -1.0)] {
            lines[line] = [0, 1].map(|part| lines[line][part] + sign * sum * along[part] / length);
        }
    }
    lines
}

fn line_current(sums: &[f64; KINDS], line: usize) -> f64 {
    let [x, y] = lines(sums)[line];
    f64::hypot(x, y)
}

/// The current of a line of the primary: that of the secondary less that of the line before.
fn primary_current(sums: &[f64; KINDS], line: usize, ratio: f64) -> f64 {
    let lines = lines(sums);
    let [x, y] = [0, 1].map(|part| lines[line][part] - lines[(line + 2) % 3][part]);
    f64::hypot(x, y) / ratio
}

/// The same for whichever part of the kinds makes it largest.
fn largest_primary_current(sums: &[f64; KINDS], line: usize, ratio: f64) -> f64 {
    let subsets = 0..1_u32 << 11;
    let part = |subset: u32| {
        let kept =
            std::array::from_fn(|kind| if subset >> kind & 1 == 1 { sums[kind] } else { 0.0 });
        primary_current(&kept, line, ratio)
    };
    subsets.map(part).fold(0.0, f64::max)
}

fn connections() -> impl Strategy<Value = Connections> {
    vec((1..=10_usize, 6_000..80_000_i64), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_full_line_carries_almost_all_it_can(
        connections in connections(), line in 0..3_u8, limit_ma in 40_000..200_000_i32,
    ) {
        let row = line_current_row(line.into()).unwrap();
        let (current_ma, stopped) = given(&connections, row, i64::from(limit_ma) * VECTOR_SCALE);
        let load_ma = line_current(&by_kind(&connections, &current_ma), line.into());
        prop_assert!(load_ma <= f64::from(limit_ma));
        prop_assert!(!stopped || load_ma >= 0.99 * f64::from(limit_ma), "{} of {}", load_ma, limit_ma);
    }

    #[test]
    fn a_full_primary_carries_almost_all_that_is_safe(
        connections in connections(), line in 0..3_u8, limit_ma in 10_000..60_000_i32,
    ) {
        let row = delta_wye_primary_row(line.into(), 4, 1).unwrap();
        let (current_ma, stopped) = given(&connections, row, i64::from(limit_ma) * VECTOR_SCALE);
        let sums = by_kind(&connections, &current_ma);
        let (load_ma, limit_ma) = (largest_primary_current(&sums, line.into(), 4.0), f64::from(limit_ma));
        prop_assert!(load_ma <= limit_ma);
        prop_assert!(!stopped || load_ma >= 0.99 * limit_ma, "{} of {}", load_ma, limit_ma);
    }
}

#[test]
fn a_primary_row_is_at_most_two_by_root_three_of_the_plain_norm() {
    let mut worst = (0.0, [0; 3]);
    for share in 0..=100_u32 {
        for (other, third) in (0..=100_u32).flat_map(|other| [0, 5, 50].map(|third| (other, third)))
        {
            let mut sums = [0.0; KINDS];
            [sums[8], sums[9], sums[10]] = [share, other, third].map(f64::from);
            let plain = primary_current(&sums, 0, 4.0);
            if plain > 0.0 {
                let ratio = largest_primary_current(&sums, 0, 4.0) / plain;
                if share == other {
                    assert!(ratio < 1.000_001, "alike on {share}, {third}: {ratio}");
                }
                if ratio > worst.0 {
                    worst = (ratio, [share, other, third]);
                }
            }
        }
    }
    let (ratio, [one, other, third]) = worst;
    assert!((ratio - 2.0 / 3_f64.sqrt()).abs() < 1e-9, "{ratio}");
    assert!(third == 0 && (one == 2 * other || other == 2 * one), "{worst:?}");
}

#[test]
fn total_power_counts_the_voltage_of_each_connection() {
    let row = total_power_row(120).unwrap();
    let volts: Vec<i32> = row.iter().map(|vector| vector[0]).collect();
    assert_eq!(volts[..12], [0, 120, 120, 240, 120, 240, 240, 360, 208, 208, 208, 0]);
    let (current_ma, stopped) = given(&vec![(7, 32_000), (8, 32_000)], row, 5_680_000);
    assert_eq!((current_ma, stopped), (vec![10_000, 10_000], true));
}

#[test]
fn imbalance_counts_what_is_on_one_line_and_not_on_the_other() {
    let row = imbalance_row(0, 1).unwrap();
    let counted: Vec<usize> = (0..KINDS).filter(|&kind| row[kind] == [1, 0]).collect();
    assert_eq!(counted, [1, 5, 10]);
    let (current_ma, _) = given(&vec![(1, 32_000), (2, 32_000), (7, 32_000)], row, 20_000);
    assert_eq!(current_ma, [20_000, 32_000, 32_000]);
}

#[test]
fn arguments_out_of_range_are_refused_by_name() {
    let said = |refused: Result<Coefficients, NetworkError>| refused.unwrap_err().to_string();
    let message = "volts_line_to_neutral is 0, must be 1 to 349525";
    assert_eq!(said(total_power_row(0)), message);
    assert!(total_power_row(349_525).is_ok());
    assert_eq!(said(imbalance_row(0, 3)), "under is 3, must be 0 to 2");
    assert_eq!(said(imbalance_row(1, 1)), "over and under are both line 1, must differ");
    assert_eq!(said(line_current_row(-1)), "line is -1, must be 0 to 2");
    let message = "turns_denominator is 0, must be 1 to 1000000";
    assert_eq!(said(delta_wye_primary_row(0, 4, 0)), message);
    assert!(delta_wye_primary_row(0, 1, 1_000_000).is_err());
    let message = "turns_numerator is 61, must be 1 to 60";
    assert_eq!(said(delta_wye_primary_row(0, 61, 3)), message);
}
