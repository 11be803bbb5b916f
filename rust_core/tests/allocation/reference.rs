//! The round once more, slow and obvious: levels by bisection on the plain sum of every row, combined
//! rows by trying every subset of kinds, nothing updated in place. It shares nothing with the crate
//! but the types of its inputs and results, and follows `tests/property/allocation_reference.py` of
//! the repository, which is compared with it through the crate.

use loadstar_core::units::{KINDS, PHASES};
use loadstar_core::{Allocation, Reason};

use crate::problem::Problem;

/// Level units in a milliampere.
const PER_MA: i128 = 65_536;

pub fn solve(problem: &Problem) -> Allocation {
    let (import, export) = (Way::new(problem, false), Way::new(problem, true));
    let (drawn, fed) = (import.solve(), export.solve());
    let leaves = 0..problem.leaves();
    let given = |leaf: usize| if problem.discharges(leaf) { &fed[leaf] } else { &drawn[leaf] };
    let sign = |leaf: usize| if problem.discharges(leaf) { -1 } else { 1 };
    let exports =
        leaves.clone().any(|leaf| problem.discharges(leaf) || problem.liability(leaf) < 0);
    let plain = PHASES * problem.nodes();
    let (loads, mut export_loads) = (import.loads(&drawn), export.loads(&fed));
    if !exports {
        export_loads.clear();
    }
    Allocation {
        current_ma: leaves.clone().map(|leaf| sign(leaf) * given(leaf).current_ma).collect(),
        binding_row: leaves.clone().map(|leaf| given(leaf).row).collect(),
        level: leaves.clone().map(|leaf| given(leaf).level).collect(),
        reason: leaves.map(|leaf| given(leaf).reason as u8).collect(),
        row_load_ma: loads[..plain].to_vec(),
        export_load_ma: export_loads.iter().copied().take(plain).collect(),
        combined_load: loads[plain..].to_vec(),
        combined_export_load: export_loads.into_iter().skip(plain).collect(),
    }
}

/// The rows that these currents overload, those of import first.
pub fn overloaded(problem: &Problem, current_ma: &[i64]) -> Vec<usize> {
    let over = |exporting: bool| {
        let way = Way::new(problem, exporting);
        let sign = if exporting { -1 } else { 1 };
        let drawn: Vec<i64> =
            current_ma.iter().map(|current_ma| (sign * current_ma).max(0)).collect();
        (0..way.limit.len()).filter(|&row| way.is_over(row, &fine(&drawn))).collect::<Vec<_>>()
    };
    [over(false), over(true)].concat()
}

/// The next current above one, in magnitude, that a connector accepts; its most where there is none.
pub fn accepted_above(problem: &Problem, leaf: usize, current_ma: i64) -> i64 {
    Way::new(problem, problem.discharges(leaf)).accepted_above(leaf, current_ma)
}

/// What a connector gets, in magnitude.
struct Given {
    current_ma: i64,
    row: i32,
    level: i64,
    reason: Reason,
}

/// Import or export on its own, in magnitudes.
struct Way<'a> {
    problem: &'a Problem,
    rows_of: Vec<Vec<usize>>,
    leaves_on: Vec<Vec<usize>>,
    limit: Vec<i128>,
    liability: Vec<i128>,
    /// The least and the most each accepts; both 0 for those of the other way.
    least: Vec<i64>,
    most: Vec<i64>,
}

impl<'a> Way<'a> {
    fn new(problem: &'a Problem, exporting: bool) -> Self {
        let (plain, combined) = if exporting {
            (&problem.export_ma, &problem.combined_export)
        } else {
            (&problem.import_ma, &problem.combined)
        };
        let limit =
            |limits: &[i64], row: usize| i128::from(limits.get(row).map_or(0, |&of| of.max(0)));
        let (rows, combined_rows) = (PHASES * problem.nodes(), problem.combined_node.len());
        let rows_of: Vec<_> = (0..problem.leaves()).map(|leaf| problem.rows_of(leaf)).collect();
        let mut leaves_on = vec![Vec::new(); rows + combined_rows];
        for (leaf, rows) in rows_of.iter().enumerate() {
            for &row in rows {
                leaves_on[row].push(leaf);
            }
        }
        let sign = if exporting { -1 } else { 1 };
        let liable = |leaf: usize| i128::from((sign * problem.liability(leaf)).max(0));
        let ends = |leaf: usize| {
            if problem.discharges(leaf) == exporting { ends(problem, leaf) } else { (0, 0) }
        };
        Self {
            problem,
            rows_of,
            leaves_on,
            limit: (0..rows)
                .map(|row| limit(plain, row))
                .chain((0..combined_rows).map(|row| limit(combined, row)))
                .collect(),
            liability: (0..problem.leaves()).map(liable).collect(),
            least: (0..problem.leaves()).map(|leaf| ends(leaf).0).collect(),
            most: (0..problem.leaves()).map(|leaf| ends(leaf).1).collect(),
        }
    }

    fn solve(&self) -> Vec<Given> {
        let problem = self.problem;
        let (mut current, refused_by) = self.admit();
        let mut stopped_by = vec![None; problem.leaves()];
        for tier in 0..=u8::MAX {
            let wants = |&leaf: &usize| {
                problem.tier[leaf] == tier
                    && refused_by[leaf].is_none()
                    && current[leaf] < self.most[leaf]
            };
            let mut rising: Vec<usize> = (0..problem.leaves()).filter(wants).collect();
            while !rising.is_empty() {
                let (reached, stops) = self.fill(&current, &rising);
                let mut order = Vec::new();
                for &leaf in &rising {
                    // What the first filling says stands.
                    stopped_by[leaf] = stopped_by[leaf].or(stops[leaf]);
                    current[leaf] = current[leaf].max(self.accepted_up_to(leaf, reached[leaf]));
                    let lost = reached[leaf] - PER_MA * i128::from(current[leaf]);
                    order.push((-lost, problem.rank[leaf], leaf));
                }
                order.sort_unstable();
                for (.., leaf) in order {
                    if self.may_rise(&current, leaf) {
                        current[leaf] = self.accepted_above(leaf, current[leaf]);
                    }
                }
                rising.retain(|&leaf| self.may_rise(&current, leaf));
            }
        }
        (0..problem.leaves())
            .map(|leaf| self.explain(leaf, current[leaf], refused_by[leaf], stopped_by[leaf]))
            .collect()
    }

    /// Everyone's minimum where it still fits, and the row without room for it of the others.
    fn admit(&self) -> (Vec<i64>, Vec<Option<usize>>) {
        let problem = self.problem;
        let mut order: Vec<usize> = (0..problem.leaves()).collect();
        order.sort_by_key(|&leaf| {
            (problem.tier[leaf], !problem.keeps_on(leaf), problem.rank[leaf], leaf)
        });
        let mut current = vec![0; problem.leaves()];
        let mut refused_by = vec![None; problem.leaves()];
        for leaf in order {
            current[leaf] = self.least[leaf];
            let full = |row: &&usize| self.is_over(**row, &fine(&current));
            if let Some(&row) = self.rows_of[leaf].iter().find(full) {
                refused_by[leaf] = Some(row);
                current[leaf] = 0;
            }
        }
        (current, refused_by)
    }

    /// What each has reached, in level units, and the row and the level that stopped it.
    fn fill(&self, current: &[i64], rising: &[usize]) -> (Vec<i128>, Vec<Option<(usize, i128)>>) {
        let mut stopped: Vec<Option<i128>> = vec![None; current.len()];
        let mut stops = vec![None; current.len()];
        let at = |level: i128, stopped: &[Option<i128>]| {
            let mut values = fine(current);
            for &leaf in rising {
                let share = i128::from(self.problem.weight[leaf]) * level;
                let free = share.max(values[leaf]).min(PER_MA * i128::from(self.most[leaf]));
                values[leaf] = stopped[leaf].unwrap_or(free);
            }
            values
        };
        let top = PER_MA * i128::from(self.most.iter().copied().max().unwrap_or(0));
        let mut level = 0;
        while self.first_over(&at(top, &stopped)).is_some() {
            let mut high = top;
            while high - level > 1 {
                let middle = i128::midpoint(level, high);
                if self.first_over(&at(middle, &stopped)).is_some() {
                    high = middle;
                } else {
                    level = middle;
                }
            }
            let row = self.first_over(&at(high, &stopped)).unwrap();
            let reached = at(level, &stopped);
            for &leaf in rising {
                if self.rows_of[leaf].contains(&row) && stopped[leaf].is_none() {
                    if reached[leaf] < PER_MA * i128::from(self.most[leaf]) {
                        stops[leaf] = Some((row, level));
                    }
                    stopped[leaf] = Some(reached[leaf]);
                }
            }
        }
        (at(top, &stopped), stops)
    }

    fn explain(
        &self,
        leaf: usize,
        current_ma: i64,
        refused_by: Option<usize>,
        stopped_by: Option<(usize, i128)>,
    ) -> Given {
        let given = |row: Option<usize>, level: i128, reason: Reason| Given {
            current_ma,
            row: row.map_or(-1, |row| i32::try_from(row).unwrap()),
            level: i64::try_from(level).unwrap(),
            reason,
        };
        let (weight, has) =
            (i128::from(self.problem.weight[leaf]), PER_MA * i128::from(current_ma));
        if refused_by.is_some() {
            return given(refused_by, 0, Reason::Admission);
        }
        if current_ma == self.most[leaf] {
            return given(None, -1, Reason::Maximum);
        }
        let (row, level) = stopped_by.unwrap();
        let (share, least) = (weight * level, PER_MA * i128::from(self.least[leaf]));
        let reason = if has > share.max(least) {
            Reason::Leftover
        } else if share <= least {
            Reason::Minimum
        } else {
            Reason::Share
        };
        given(Some(row), level, reason)
    }

    /// The next current above one that a connector accepts.
    fn accepted_above(&self, leaf: usize, current_ma: i64) -> i64 {
        let step = self.problem.step_ma[leaf];
        let next = match self.problem.setpoints(leaf) {
            None => (current_ma / step + 1) * step,
            Some(set) => {
                let inside = |member: &&i64| **member >= self.least[leaf] && **member > current_ma;
                set.iter().find(inside).copied().unwrap_or(i64::MAX)
            }
        };
        next.min(self.most[leaf])
    }

    /// The largest current a connector accepts that is not above one in level units.
    fn accepted_up_to(&self, leaf: usize, reached: i128) -> i64 {
        let whole = i64::try_from(reached / PER_MA).unwrap();
        if whole >= self.most[leaf] {
            return self.most[leaf];
        }
        match self.problem.setpoints(leaf) {
            None => whole - whole % self.problem.step_ma[leaf],
            Some(set) => {
                let inside = |member: &&i64| **member >= self.least[leaf] && **member <= whole;
                set.iter().rev().find(inside).copied().unwrap_or(0)
            }
        }
    }

    fn may_rise(&self, current: &[i64], leaf: usize) -> bool {
        let mut raised = current.to_vec();
        raised[leaf] = self.accepted_above(leaf, current[leaf]);
        raised[leaf] > current[leaf] && self.first_over(&fine(&raised)).is_none()
    }

    /// The overloaded row nearest to the root, L1 before L2, then combined by index.
    fn first_over(&self, fine: &[i128]) -> Option<usize> {
        let plain = PHASES * self.problem.nodes();
        let over = (0..self.leaves_on.len()).filter(|&row| self.is_over(row, fine));
        over.min_by_key(|&row| {
            let node = if row < plain {
                i32::try_from(row / PHASES).unwrap()
            } else {
                self.problem.combined_node[row - plain]
            };
            let mut depth = 0;
            let mut up = node;
            while let Ok(above) = usize::try_from(up) {
                (up, depth) = (self.problem.node_parent[above], depth + 1);
            }
            (depth, row >= plain, if row < plain { row % PHASES } else { row })
        })
    }

    /// Whether something in `fine`, in level units, is drawn on a row that with its liabilities bears
    /// more than its limit.
    fn is_over(&self, row: usize, fine: &[i128]) -> bool {
        let with_liability = |leaf: usize| fine[leaf] + PER_MA * self.liability[leaf];
        let limit = PER_MA * self.limit[row];
        self.leaves_on[row].iter().any(|&leaf| fine[leaf] != 0)
            && self.sums(row, with_liability).iter().any(|&[x, y]| {
                // Limits are below 2^46 in milliamperes, so what is squared stays below 2^63.
                x.abs() > limit || y.abs() > limit || x * x + y * y > limit * limit
            })
    }

    fn loads(&self, given: &[Given]) -> Vec<i64> {
        let with_liability =
            |leaf: usize| i128::from(given[leaf].current_ma) + self.liability[leaf];
        let rounded_up = |[x, y]: [i128; 2]| {
            let square = x * x + y * y;
            square.isqrt() + i128::from(square.isqrt().pow(2) < square)
        };
        let load = |row: usize| self.sums(row, with_liability).into_iter().map(rounded_up).max();
        (0..self.leaves_on.len()).map(|row| i64::try_from(load(row).unwrap()).unwrap()).collect()
    }

    /// The sum on a row, as a vector, of every subset of the kinds that draw on it.
    fn sums(&self, row: usize, current: impl Fn(usize) -> i128) -> Vec<[i128; 2]> {
        let plain = PHASES * self.problem.nodes();
        if row < plain {
            return vec![[self.leaves_on[row].iter().map(|&leaf| current(leaf)).sum(), 0]];
        }
        let mut of_kind = [0; KINDS];
        for &leaf in &self.leaves_on[row] {
            of_kind[self.problem.kind(leaf)] += current(leaf);
        }
        let coefficient = &self.problem.combined_coefficient[row - plain];
        let mut sums = vec![[0, 0]];
        for (&[x, y], total) in coefficient.iter().zip(of_kind).filter(|(_, total)| *total != 0) {
            let with = |[a, b]: [i128; 2]| [a + i128::from(x) * total, b + i128::from(y) * total];
            sums.extend(sums.clone().into_iter().map(with));
        }
        sums
    }
}

/// The least and the most a connector accepts.
fn ends(problem: &Problem, leaf: usize) -> (i64, i64) {
    let (min, max) = (problem.min_ma[leaf], problem.max_ma[leaf]);
    let Some(set) = problem.setpoints(leaf) else { return (min, max) };
    let mut inside = set.iter().copied().filter(|member| (min..=max).contains(member));
    match (inside.next(), inside.next_back()) {
        (None, _) => (0, 0),
        (Some(first), last) => (if min > 0 { first } else { 0 }, last.unwrap_or(first)),
    }
}

fn fine(current: &[i64]) -> Vec<i128> {
    current.iter().map(|&current| PER_MA * i128::from(current)).collect()
}
