//! Plans against exhaustive search on tiny problems, laws that every plan keeps, and hard inputs.

#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "tests, of small numbers")]

use loadstar_core::plan::{
    Effort, Fleet, Limits, Meters, Plan, Problem, Shortfall, Start, check, solve,
};
use loadstar_core::{Network, NetworkError};

/// A generator of numbers, the same on every machine (Steele, Lea, Flood, 2014: `SplitMix64`).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `least` to below `end`.
    fn draw(&mut self, least: i64, end: i64) -> i64 {
        let width = u64::try_from(end - least).unwrap();
        least + i64::try_from(self.next() % width).unwrap()
    }
}

/// A problem that owns its columns.
#[derive(Clone)]
struct Case {
    network: Network,
    slots: usize,
    import_ma: Vec<i64>,
    export_ma: Vec<i64>,
    base_w: Vec<i64>,
    import_price: Vec<i64>,
    export_price: Vec<i64>,
    demand_price: Vec<i64>,
    demand_slot: Vec<bool>,
    columns: [Vec<i64>; 12],
    late_price: i64,
}

impl Case {
    /// Vehicles under two panels of a site, all hours of a night.
    fn random(numbers: &mut Numbers, vehicles: usize, slots: usize) -> Self {
        let mut node = Vec::new();
        let mut lines = Vec::new();
        let mut columns: [Vec<i64>; 12] = Default::default();
        for _ in 0..vehicles {
            node.push(i32::try_from(numbers.draw(1, 3)).unwrap());
            let three = numbers.draw(0, 2) == 0;
            lines.push(if three { 0b111 } else { 1 << numbers.draw(0, 3) });
            let end_s = 3_600 * i64::try_from(slots).unwrap();
            let arrival_s = numbers.draw(-3_600, end_s - 1_800);
            let departure_s = numbers.draw(arrival_s + 900, end_s + 7_200);
            let room_wh = numbers.draw(500, 40_000);
            let feeds = if numbers.draw(0, 3) == 0 { 16_000 } else { 0 };
            let spare_wh = if feeds > 0 { numbers.draw(0, 10_000) } else { 0 };
            let row = [
                if three { 690 } else { 230 },
                numbers.draw(1, 33) * 1_000,
                arrival_s,
                departure_s,
                numbers.draw(-spare_wh, room_wh),
                room_wh,
                numbers.draw(1, 60) * 100_000,
                numbers.draw(800, 1_001),
                feeds,
                numbers.draw(800, 1_001),
                spare_wh,
                numbers.draw(0, 60_000),
            ];
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        let mut draw = |count: usize, least: i64, end: i64| -> Vec<i64> {
            (0..count).map(|_| numbers.draw(least, end)).collect()
        };
        let import_price = draw(slots, -20_000, 400_000);
        let export_price = draw(slots, 0, 100_000)
            .iter()
            .zip(&import_price)
            .map(|(less, price)| price - less)
            .collect();
        Self {
            network: Network::new(&[-1, 0, 0], &node, &lines).unwrap(),
            slots,
            import_ma: draw(9 * slots, 0, 80_000),
            export_ma: draw(9 * slots, 0, 40_000),
            base_w: draw(slots, -20_000, 40_000),
            import_price,
            export_price,
            demand_price: draw(1, 0, 3_000_000),
            demand_slot: vec![true; slots],
            columns,
            late_price: 10,
        }
    }

    fn problem(&self) -> Problem<'_> {
        let [volts, max_ma, arrival_s, departure_s, need_wh, room_wh, penalty, rest @ ..] =
            &self.columns;
        let [charge_permille, discharge_ma, discharge_permille, spare_wh, wear_price] = rest;
        Problem {
            network: &self.network,
            slots: self.slots,
            slot_s: 3_600,
            late_price: self.late_price,
            limits: Limits {
                import_ma: &self.import_ma,
                export_ma: &self.export_ma,
                ..Limits::default()
            },
            meters: Meters {
                node: &[0],
                base_w: &self.base_w,
                import_price: &self.import_price,
                export_price: &self.export_price,
                demand_meter: &[0],
                demand_price: &self.demand_price,
                demand_so_far_w: &[10_000],
                demand_slot: &self.demand_slot,
            },
            fleet: Fleet {
                volts,
                max_ma,
                arrival_s,
                departure_s,
                need_wh,
                room_wh,
                penalty,
                charge_permille,
                discharge_ma,
                discharge_permille,
                spare_wh,
                wear_price,
                ..Fleet::default()
            },
        }
    }

    fn solve(&self, gap: f64) -> Plan {
        let effort = Effort { gap, steps: 4_000, threads: 1 };
        let plan = solve(&self.problem(), &Start::default(), &effort, &|| false).unwrap();
        let faults = check(&self.problem(), &plan.current_ma).unwrap();
        assert!(faults.is_empty(), "{}", faults[0]);
        assert!(plan.bound <= plan.cost + 1e-9);
        plan
    }

    /// What the last milliampere of every vehicle may cost in every slot.
    fn grain(&self) -> f64 {
        let [volts, .., penalty, _, _, _, _, _] = &self.columns;
        let each = volts.iter().zip(penalty).map(|(&volts, &penalty)| {
            f64::from(u32::try_from(volts).unwrap()) / 1e6
                * (f64::from(u32::try_from(penalty).unwrap()) / 1e6 + 3.0)
        });
        each.sum::<f64>() * 4.0
    }
}

/// The bound of either of two plans of one problem holds for the other.
fn agree(one: &Plan, other: &Plan, scale: f64, grain: f64) {
    let slack = 1e-5 * one.cost.abs() + 1e-9;
    assert!(one.bound <= other.cost / scale + slack, "{} {}", one.bound, other.cost / scale);
    assert!(other.bound / scale <= one.cost + slack, "{} {}", other.bound / scale, one.cost);
    let apart = (one.cost - other.cost / scale).abs();
    assert!(apart <= 4e-3 * one.cost.abs() + grain, "{} {}", one.cost, other.cost / scale);
}

#[test]
fn plans_are_proven_and_accepted() {
    let mut numbers = Numbers(1);
    let mut open = 0;
    for round in 0..300 {
        let slots = usize::try_from(numbers.draw(1, 13)).unwrap();
        let vehicles = usize::try_from(numbers.draw(1, 12)).unwrap();
        let case = Case::random(&mut numbers, vehicles, slots);
        let plan = case.solve(1e-3);
        let left = plan.cost - plan.bound - 1e-3 * plan.cost.abs() - case.grain();
        open += u32::from(left > 0.0);
        assert!(left <= 0.02 * plan.cost.abs().max(1.0), "round {round}: {left}");
    }
    assert!(open == 0, "{open} of 300 plans are not as near to the best as asked");
}

#[test]
fn tiny_problems_are_solved_like_by_trying_everything() {
    // Two vehicles, three hours, currents in steps of 4 A: 5^6 plans. The best of them costs at least
    // the bound, and the plan at most as much as the best.
    let mut numbers = Numbers(2);
    for _ in 0..20 {
        let mut case = Case::random(&mut numbers, 2, 3);
        case.columns[1] = vec![16_000; 2];
        case.columns[2] = vec![0; 2];
        case.columns[3] = vec![10_800; 2];
        case.columns[8] = vec![0; 2];
        for vehicle in 0..2 {
            case.columns[4][vehicle] = case.columns[4][vehicle].max(0);
        }
        let plan = case.solve(1e-4);
        let mut best = f64::MAX;
        for number in 0..5_i32.pow(6) {
            let current_ma: Vec<i32> =
                (0..6).map(|digit| number / 5_i32.pow(digit) % 5 * 4_000).collect();
            if check(&case.problem(), &current_ma).unwrap().is_empty() {
                best = best.min(plain_cost(&case, &current_ma));
            }
        }
        assert!(plan.bound <= best + 1e-6 * best.abs(), "{} {best}", plan.bound);
        assert!(plan.cost <= best + 1e-3 * best.abs() + case.grain(), "{} {best}", plan.cost);
        let told = plain_cost(&case, &plan.current_ma);
        assert!((told - plan.cost).abs() < 1e-6 * told.abs() + 1e-9, "{told} {}", plan.cost);
    }
}

/// What a plan of vehicles that never feed in costs, written down from the definition.
fn plain_cost(case: &Case, current_ma: &[i32]) -> f64 {
    let [volts, max_ma, _, departure_s, need_wh, _, penalty, charge, ..] = &case.columns;
    let slots = case.slots;
    let mut total = 0.0;
    let (mut peak_w, mut owed_w) = (10_000.0_f64, 10_000.0_f64);
    for slot in 0..slots {
        let base_w = case.base_w[slot] as f64;
        let drawn_w: f64 = volts
            .iter()
            .enumerate()
            .map(|(vehicle, &volts)| {
                f64::from(current_ma[vehicle * slots + slot]) * volts as f64 / 1e3
            })
            .sum();
        let cost = |watts: f64| {
            let price = if watts > 0.0 { case.import_price[slot] } else { case.export_price[slot] };
            watts / 1e3 * price as f64 / 1e6
        };
        total += cost(base_w + drawn_w) - cost(base_w);
        total += drawn_w / 1e3 * slot as f64 * case.late_price as f64 / 1e6;
        peak_w = peak_w.max(base_w + drawn_w);
        owed_w = owed_w.max(base_w);
    }
    total += (peak_w - 10_000.0) / 1e3 * case.demand_price[0] as f64 / 1e6;
    for vehicle in 0..volts.len() {
        let wh = |amperes: f64| amperes * volts[vehicle] as f64 * charge[vehicle] as f64 / 1e3;
        let all = wh(max_ma[vehicle] as f64 / 1e3 * slots as f64);
        let later_s = (departure_s[vehicle] - 3_600 * i64::try_from(slots).unwrap()).max(0) as f64;
        let later = wh(max_ma[vehicle] as f64 / 1e3) * later_s / 3_600.0;
        let need = (need_wh[vehicle] as f64 - later).max(0.0).min(all);
        let drawn: i32 = current_ma[vehicle * slots..][..slots].iter().sum();
        total += (need - wh(f64::from(drawn) / 1e3)).max(0.0) / 1e3 * penalty[vehicle] as f64 / 1e6;
    }
    total
}

#[test]
fn prices_may_be_scaled() {
    let mut numbers = Numbers(3);
    for _ in 0..20 {
        let case = Case::random(&mut numbers, 6, 8);
        let mut scaled = case.clone();
        let [.., penalty, _, _, _, _, wear_price] = &mut scaled.columns;
        let bought = [&mut scaled.import_price, &mut scaled.export_price];
        let others = [&mut scaled.demand_price, penalty, wear_price];
        for price in bought.into_iter().chain(others).flatten() {
            *price *= 8;
        }
        scaled.late_price *= 8;
        agree(&case.solve(1e-3), &scaled.solve(1e-3), 8.0, case.grain());
    }
}

#[test]
fn more_room_never_costs_more() {
    let mut numbers = Numbers(4);
    for _ in 0..20 {
        let case = Case::random(&mut numbers, 6, 8);
        let mut wider = case.clone();
        for limit in &mut wider.import_ma {
            *limit += 5_000;
        }
        let (tight, wide) = (case.solve(1e-3), wider.solve(1e-3));
        assert!(wide.bound <= tight.cost + 1e-6 * tight.cost.abs());
    }
}

#[test]
fn any_number_of_threads_gives_the_same_plan() {
    let mut numbers = Numbers(5);
    let case = Case::random(&mut numbers, 800, 24);
    let plan_on = |threads| {
        let effort = Effort { gap: 1e-3, steps: 60, threads };
        solve(&case.problem(), &Start::default(), &effort, &|| false).unwrap()
    };
    let one = plan_on(1);
    for threads in [2, 3, 7] {
        let other = plan_on(threads);
        assert_eq!(one.current_ma, other.current_ma);
        assert_eq!(one.bound.to_bits(), other.bound.to_bits());
    }
}

#[test]
fn a_plan_is_where_the_next_search_begins() {
    let mut numbers = Numbers(6);
    let case = Case::random(&mut numbers, 60, 24);
    let plan = case.solve(1e-3);
    let start = Start {
        current_ma: &plan.current_ma,
        import_price: &plan.import_price,
        export_price: &plan.export_price,
        energy_price: &plan.energy_price,
        demand_price: &plan.demand_price,
        taper_price: &plan.taper_price,
        balance: Some(plan.balance),
    };
    let again = solve(&case.problem(), &start, &Effort::default(), &|| false).unwrap();
    agree(&plan, &again, 1.0, case.grain());
    assert!(again.steps < plan.steps, "{} {}", again.steps, plan.steps);
    // Nonsense costs steps and nothing else.
    let prices = vec![f64::NAN; plan.import_price.len()];
    let nonsense = Start { import_price: &prices, balance: Some(f64::NAN), ..start };
    let again = solve(&case.problem(), &nonsense, &Effort::default(), &|| false).unwrap();
    agree(&plan, &again, 1.0, case.grain());
}

#[test]
fn prices_of_rows_where_nobody_is_are_not_believed() {
    // Everyone is gone after four of eight hours; the start says that the hours after are dear.
    let mut numbers = Numbers(9);
    let mut case = Case::random(&mut numbers, 12, 8);
    case.columns[2] = vec![0; 12];
    case.columns[3] = vec![4 * 3_600; 12];
    let cold = case.solve(1e-3);
    let prices: Vec<f64> =
        (0..cold.import_price.len()).map(|row| if row % 8 < 4 { 0.0 } else { 3.0 }).collect();
    let start = Start { import_price: &prices, export_price: &[], ..Start::default() };
    let warm = solve(&case.problem(), &start, &Effort::default(), &|| false).unwrap();
    agree(&cold, &warm, 1.0, case.grain());
    assert!(warm.cost - warm.bound <= 1e-3 * warm.cost.abs() + case.grain());
}

#[test]
fn what_is_dear_loses_nothing_to_rounding_that_cheaper_energy_can_give() {
    // A full line of 10 A for three hours at 16 A each; all that the first wants just fits into two
    // of them, in whole milliamperes only if the second gives way in the last.
    let network = Network::new(&[-1], &[0, 0], &[0b001, 0b001]).unwrap();
    let problem = Problem {
        network: &network,
        slots: 3,
        slot_s: 3_600,
        late_price: 1,
        limits: Limits {
            import_ma: &[10_000, 10_000, 10_000, 0, 0, 0, 0, 0, 0],
            import_w: &[2_000, 2_000, 2_000],
            ..Limits::default()
        },
        meters: Meters {
            node: &[0],
            base_w: &[0; 3],
            import_price: &[100_000; 3],
            export_price: &[0; 3],
            ..Meters::default()
        },
        fleet: Fleet {
            volts: &[230; 2],
            max_ma: &[16_000; 2],
            arrival_s: &[0; 2],
            departure_s: &[10_800; 2],
            need_wh: &[4_000, 9_000],
            room_wh: &[9_000; 2],
            penalty: &[50_000_000, 500_000],
            ..Fleet::default()
        },
    };
    let plan = solve(&problem, &Start::default(), &Effort::default(), &|| false).unwrap();
    assert!(check(&problem, &plan.current_ma).unwrap().is_empty());
    assert_eq!(plan.shortfall_wh[0], 0);
    assert!(plan.shortfall_wh[1] >= 7_000);
    assert!(plan.cost - plan.bound <= 1e-3 * plan.cost, "{} {}", plan.cost, plan.bound);
}

#[test]
fn a_search_that_is_stopped_at_once_has_a_plan() {
    let mut numbers = Numbers(7);
    let case = Case::random(&mut numbers, 40, 12);
    let plan = solve(&case.problem(), &Start::default(), &Effort::default(), &|| true).unwrap();
    assert_eq!(plan.steps, 1);
    assert!(check(&case.problem(), &plan.current_ma).unwrap().is_empty());
    assert!(plan.bound <= plan.cost && plan.bound.is_finite());
}

#[test]
fn what_is_missing_is_explained() {
    let network = Network::new(&[-1, 0], &[1, 0, 0], &[0b001, 0b010, 0b100]).unwrap();
    let mut import_ma = vec![100_000; 12];
    import_ma[6..8].fill(1_000);
    let problem = Problem {
        network: &network,
        slots: 2,
        slot_s: 3_600,
        late_price: 0,
        limits: Limits { import_ma: &import_ma, ..Limits::default() },
        meters: Meters {
            node: &[0],
            base_w: &[0, 0],
            import_price: &[300_000, 300_000],
            export_price: &[0, 0],
            ..Meters::default()
        },
        fleet: Fleet {
            volts: &[230; 3],
            max_ma: &[16_000; 3],
            arrival_s: &[0; 3],
            departure_s: &[7_200; 3],
            need_wh: &[5_000, 20_000, 5_000],
            room_wh: &[50_000; 3],
            penalty: &[5_000_000, 5_000_000, 100_000],
            ..Fleet::default()
        },
    };
    let plan = solve(&problem, &Start::default(), &Effort::default(), &|| false).unwrap();
    assert_eq!(plan.reason, [Shortfall::Row, Shortfall::Stay, Shortfall::Price]);
    assert_eq!(plan.short_row, [4, -1, -1]);
    assert_eq!(plan.shortfall_wh, [4_540, 12_640, 5_000]);
}

#[test]
fn a_battery_that_takes_less_has_too_short_a_stay() {
    let network = Network::new(&[-1], &[0, 0], &[0b001, 0b001]).unwrap();
    let problem = Problem {
        network: &network,
        slots: 4,
        slot_s: 900,
        late_price: 0,
        limits: Limits { import_ma: &[100_000; 12], ..Limits::default() },
        meters: Meters {
            node: &[0],
            base_w: &[0; 4],
            import_price: &[300_000; 4],
            export_price: &[0; 4],
            ..Meters::default()
        },
        fleet: Fleet {
            volts: &[230; 2],
            max_ma: &[16_000; 2],
            arrival_s: &[0; 2],
            departure_s: &[3_600; 2],
            need_wh: &[3_600, 1_000],
            room_wh: &[3_600; 2],
            penalty: &[5_000_000, 100_000],
            taper_from_wh: &[1_000; 2],
            taper_ma: &[500; 2],
            ..Fleet::default()
        },
    };
    let plan = solve(&problem, &Start::default(), &Effort::default(), &|| false).unwrap();
    assert_eq!(plan.reason, [Shortfall::Stay, Shortfall::Price]);
    assert!(check(&problem, &plan.current_ma).unwrap().is_empty());
}

#[test]
fn a_battery_takes_less_as_it_fills() {
    let network = Network::new(&[-1], &[0], &[0b001]).unwrap();
    let problem = Problem {
        network: &network,
        slots: 4,
        slot_s: 3_600,
        late_price: 0,
        limits: Limits { import_ma: &[100_000; 12], ..Limits::default() },
        meters: Meters {
            node: &[0],
            base_w: &[0; 4],
            import_price: &[300_000, 300_000, 300_000, 100_000],
            export_price: &[0; 4],
            ..Meters::default()
        },
        fleet: Fleet {
            volts: &[230],
            max_ma: &[32_000],
            arrival_s: &[0],
            departure_s: &[14_400],
            need_wh: &[7_000],
            room_wh: &[7_360],
            penalty: &[5_000_000],
            taper_from_wh: &[0],
            taper_ma: &[0],
            ..Fleet::default()
        },
    };
    let plan = solve(&problem, &Start::default(), &Effort::default(), &|| false).unwrap();
    assert!(check(&problem, &plan.current_ma).unwrap().is_empty());
    assert!(plan.cost - plan.bound <= 2e-3 * plan.cost, "{} {}", plan.cost, plan.bound);
    // x + e * 32 / 7.36 <= 32 halves what is open in each hour that it charges at the limit.
    assert!(plan.current_ma[3] <= 16_000 && plan.current_ma[0] > 0);
}

#[test]
fn impossible_input_is_refused_by_element() {
    let mut numbers = Numbers(8);
    let case = Case::random(&mut numbers, 3, 4);
    let refusal = |spoil: &dyn Fn(&mut Case)| -> NetworkError {
        let mut spoilt = case.clone();
        spoil(&mut spoilt);
        solve(&spoilt.problem(), &Start::default(), &Effort::default(), &|| false).unwrap_err()
    };
    let told = |spoil: &dyn Fn(&mut Case)| refusal(spoil).to_string();
    assert!(told(&|case| case.columns[3][1] = -9_999).starts_with("departure_s[1] is -9999"));
    assert!(told(&|case| case.columns[4][2] = 1 << 40).starts_with("need_wh[2]"));
    assert!(told(&|case| case.export_price[3] = 1 << 38).starts_with("export_price[3]"));
    assert!(told(&|case| case.import_ma[7] = -1).starts_with("import_ma[7] is -1"));
    assert!(told(&|case| case.base_w.truncate(3)).starts_with("base_w has 3 elements"));
    let unmetered = Problem { meters: Meters::default(), ..case.problem() };
    let refused = solve(&unmetered, &Start::default(), &Effort::default(), &|| false);
    assert_eq!(refused.unwrap_err().to_string(), "vehicle 0 is below no meter");
}
