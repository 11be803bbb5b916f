//! Weighted max-min by event-driven progressive filling.
//!
//! One level rises for everyone; a leaf draws `weight * level`, clamped to what it has and its
//! maximum. Two kinds of events stop or start a leaf's growth at levels known beforehand (it
//! passes what it has; it reaches its maximum). A third is a row being full: it cannot carry
//! everyone below it at the next level, so they stay at this one. As leaves stop elsewhere a row
//! can only last longer, so the queue holds lower bounds and a row's level is computed anew when
//! its turn comes. One- and three-phase leaves share rows without being nested, which is why this
//! sweep goes by level over the whole tree and does not merge curves upwards.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::allocate::{Round, Stop};
use crate::units::{PHASES, fine};

/// Where a leaf is in the sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not part of this filling, or stopped.
    Still,
    /// Holds what it has; its share is not above that yet.
    Waiting,
    /// Draws `weight * level`.
    Growing,
    /// At its maximum from this very level on; a row that fills at this level takes that back.
    Topping,
}

struct Sweep<'a, 'b> {
    round: &'a mut Round<'b>,
    state: Vec<State>,
    /// Level units reached, by leaf place.
    reached: Vec<i64>,
    /// What is left on each row beside the growing leaves, in level units.
    room: Vec<i64>,
    /// Sum of the weights of growing leaves on each row.
    pull: Vec<i64>,
    /// Lower bound of the first level each row cannot carry.
    queue: BinaryHeap<Reverse<(i64, usize)>>,
}

/// Raise `rising` from what they have, as far as rows and their maximums allow. Returns what each
/// reached, in level units, and notes on every leaf that a row stopped which one it was.
pub(crate) fn fill(round: &mut Round<'_>, rising: &[u32]) -> Vec<i64> {
    let mut sweep = Sweep::new(round, rising);
    let events = leaf_events(sweep.round, rising);
    let mut next = 0;
    loop {
        let of_rows = sweep.queue.peek().map(|Reverse((level, _))| *level);
        let of_leaves = events.get(next).map(|event| event.0);
        let level = match (of_rows, of_leaves) {
            (Some(rows), Some(leaves)) => rows.min(leaves),
            (Some(level), None) | (None, Some(level)) => level,
            (None, None) => break,
        };
        let first = next;
        while let Some(&(_, kind, leaf)) = events.get(next).filter(|event| event.0 == level) {
            sweep.turn(level, kind, leaf as usize);
            next += 1;
        }
        let full = sweep.full_rows(level);
        for row in full {
            sweep.stop_below(row, level);
        }
        for &(_, _, leaf) in &events[first..next] {
            sweep.settle(leaf as usize);
        }
    }
    rising.iter().map(|&leaf| sweep.reached[leaf as usize]).collect()
}

/// Levels at which leaves start to grow (kind 0) and reach their maximum (kind 1), ascending.
fn leaf_events(round: &Round<'_>, rising: &[u32]) -> Vec<(i64, u8, u32)> {
    let mut events = Vec::with_capacity(rising.len() * 2);
    for &leaf in rising {
        let at = leaf as usize;
        let weight = round.weight[at];
        events.push((ceil_div(fine(round.current_ma[at]), weight), 0, leaf));
        events.push((ceil_div(fine(round.max_ma[at]), weight), 1, leaf));
    }
    events.sort_unstable();
    events
}

fn ceil_div(value: i64, by: i64) -> i64 {
    (value + by - 1) / by
}

impl<'a, 'b> Sweep<'a, 'b> {
    fn new(round: &'a mut Round<'b>, rising: &[u32]) -> Self {
        let leaves = round.network.leaves();
        let mut sweep = Self {
            state: vec![State::Still; leaves],
            reached: vec![0; leaves],
            room: round.room_ma.iter().map(|&room| fine(room)).collect(),
            pull: vec![0; round.network.rows()],
            queue: BinaryHeap::new(),
            round,
        };
        for &leaf in rising {
            let leaf = leaf as usize;
            sweep.state[leaf] = State::Waiting;
            sweep.reached[leaf] = fine(sweep.round.current_ma[leaf]);
            sweep.round.stop[leaf] = Stop::OWN;
        }
        sweep
    }

    /// A leaf starts to grow, or tops out, at `level`.
    fn turn(&mut self, level: i64, kind: u8, leaf: usize) {
        let weight = self.round.weight[leaf];
        let (from, to) =
            (self.state[leaf], if kind == 0 { State::Growing } else { State::Topping });
        let (pull, room) = match (from, to) {
            (State::Waiting, State::Growing) => (weight, self.reached[leaf]),
            (State::Growing, State::Topping) => (-weight, -fine(self.round.max_ma[leaf])),
            _ => return,
        };
        self.state[leaf] = to;
        for row in self.round.network.rows_of(leaf) {
            self.pull[row] += pull;
            self.room[row] += room;
            if let Some(level) = self.full_at(row, level) {
                self.queue.push(Reverse((level, row)));
            }
        }
    }

    /// The first level, from `level` on, that a row cannot carry; none if nothing grows on it.
    fn full_at(&self, row: usize, level: i64) -> Option<i64> {
        let (room, pull) = (self.room[row], self.pull[row]);
        if pull > 0 {
            Some((room.div_euclid(pull) + 1).max(level))
        } else {
            (room < 0).then_some(level)
        }
    }

    /// Rows that cannot carry `level`. All are found before anyone is stopped, so that the result
    /// does not depend on the order of rows.
    fn full_rows(&mut self, level: i64) -> Vec<usize> {
        let mut full = Vec::new();
        while let Some(&Reverse((bound, row))) = self.queue.peek() {
            if bound > level {
                break;
            }
            self.queue.pop();
            match self.full_at(row, level) {
                Some(at) if at == level => full.push(row),
                Some(later) => self.queue.push(Reverse((later, row))),
                None => {}
            }
        }
        // Rows nearer to the connectors lie later; their name is the more helpful one.
        full.sort_unstable_by_key(|&row| (Reverse(row / PHASES), row % PHASES));
        full.dedup();
        full
    }

    /// Everyone below a row that cannot carry `level` stays at the level before.
    fn stop_below(&mut self, row: usize, level: i64) {
        let (place, phase) = (row / PHASES, row % PHASES);
        for leaf in self.round.network.leaves_below(place) {
            if self.round.network.leaf_phases[leaf] >> phase & 1 == 1 {
                self.stop(leaf, row, level - 1);
            }
        }
    }

    fn stop(&mut self, leaf: usize, row: usize, level: i64) {
        let weight = self.round.weight[leaf];
        let most = fine(self.round.max_ma[leaf]);
        let has = self.reached[leaf];
        let reached = (weight * level).clamp(has, most);
        let (pull, room) = match self.state[leaf] {
            State::Still => return,
            State::Waiting => (0, 0),
            State::Growing => (-weight, -reached),
            State::Topping => (0, most - reached),
        };
        self.state[leaf] = State::Still;
        self.reached[leaf] = reached;
        if reached < most {
            self.round.stop[leaf] = Stop::row(row);
        }
        for row in self.round.network.rows_of(leaf) {
            self.pull[row] += pull;
            self.room[row] += room;
        }
    }

    /// A leaf that nothing stopped at the level of its maximum has it for good.
    fn settle(&mut self, leaf: usize) {
        if self.state[leaf] == State::Topping {
            self.state[leaf] = State::Still;
            self.reached[leaf] = fine(self.round.max_ma[leaf]);
        }
    }
}
