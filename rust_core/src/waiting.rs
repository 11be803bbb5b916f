//! What it is worth to let a vehicle wait, if the rest of the day came as one that was seen.
//!
//! Vehicles want energy while they are there, some now and some to come; a site's power, and that of
//! each of its groups, is limited in every slot, and a kilowatt-hour earns more in some slots than in
//! others. What earns most is a flow from vehicles over groups to slots, found from the dearest class
//! of slots down: what was placed stays placed and only moves within better slots, as in every greedy
//! algorithm on a matroid. From the flow follows by reachability, exactly and without prices that a
//! search would have to find, what the last kilowatt-hour of a vehicle earns later ([`Worth::loss`]),
//! and what another kilowatt of the site's power would ([`Worth::more`]).
//!
//! Energies are in kilowatt-hours, times in hours from now, powers in kilowatts. A number that is none
//! counts as nothing.

#![allow(clippy::float_cmp, reason = "classes are compared with themselves")]

use std::collections::VecDeque;

use crate::NetworkError;

/// Less than this, in kilowatt-hours, is nothing.
const NOTHING: f64 = 1e-7;

/// A day to come; columns of one length each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Day<'a> {
    /// When vehicles come; 0 for those who are there.
    pub arrival_h: &'a [f64],
    /// When they leave.
    pub departure_h: &'a [f64],
    /// What they still want.
    pub energy_kwh: &'a [f64],
    /// What they can take.
    pub power_kw: &'a [f64],
    /// Which group feeds them.
    pub group: &'a [i32],
    /// What each group carries.
    pub group_kw: &'a [f64],
    /// Where slots begin; one more than there are slots, ascending.
    pub edge_h: &'a [f64],
    /// What a kilowatt-hour earns in each slot; not used where that is nothing.
    pub earns: &'a [f64],
    /// What the site carries.
    pub site_kw: f64,
}

/// What waiting is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Worth {
    /// For each of the first vehicles: what a kilowatt-hour earns that is left for later.
    pub loss: Vec<f64>,
    /// What another kilowatt of the site's power would earn.
    pub more: f64,
}

/// What waiting is worth to the first `here` vehicles of a day.
///
/// # Errors
/// Columns of another length, a group that there is not.
pub fn worth(day: &Day<'_>, here: usize) -> Result<Worth, NetworkError> {
    day.validate(here)?;
    let mut flow = Flow::new(day);
    flow.fill();
    let loss = (0..here).map(|vehicle| flow.loss(vehicle)).collect();
    Ok(Worth { loss, more: flow.more() })
}

impl Day<'_> {
    fn validate(&self, here: usize) -> Result<(), NetworkError> {
        let vehicles = self.arrival_h.len();
        let lengths = [
            ("departure_h", self.departure_h.len(), vehicles),
            ("energy_kwh", self.energy_kwh.len(), vehicles),
            ("power_kw", self.power_kw.len(), vehicles),
            ("group", self.group.len(), vehicles),
            ("edge_h", self.edge_h.len(), self.earns.len() + 1),
        ];
        for (array, found, expected) in lengths {
            if found != expected {
                return Err(NetworkError::Length { array, found, expected });
            }
        }
        if here > vehicles {
            return Err(NetworkError::Element { array: "here", index: here, count: vehicles });
        }
        let count = self.group_kw.len();
        match self
            .group
            .iter()
            .position(|&each| usize::try_from(each).map_or(true, |at| at >= count))
        {
            Some(index) => Err(NetworkError::Element { array: "group", index, count }),
            None => Ok(()),
        }
    }
}

/// A place of the search.
#[derive(Clone, Copy)]
enum Place {
    Vehicle(usize),
    Group(usize, usize),
    Slot(usize),
}

/// Energy that was placed: from vehicles over groups to slots.
struct Flow<'a> {
    day: &'a Day<'a>,
    slots: usize,
    /// By vehicle and slot.
    room: Vec<f64>,
    placed: Vec<f64>,
    /// By vehicle.
    left: Vec<f64>,
    members: Vec<Vec<usize>>,
    /// By group and slot.
    group_room: Vec<f64>,
    group_placed: Vec<f64>,
    /// By slot.
    slot_room: Vec<f64>,
    /// Of the search: where each place was come to from, `usize::MAX` where not yet.
    from: Vec<usize>,
    queue: VecDeque<usize>,
}

const UNSEEN: usize = usize::MAX;
const BEGIN: usize = usize::MAX - 1;

impl<'a> Flow<'a> {
    fn new(day: &'a Day<'a>) -> Self {
        let (vehicles, slots) = (day.arrival_h.len(), day.earns.len());
        let groups = day.group_kw.len();
        let length = |slot: usize| day.edge_h[slot + 1] - day.edge_h[slot];
        let mut room = vec![0.0; vehicles * slots];
        let mut members = vec![Vec::new(); groups];
        for vehicle in 0..vehicles {
            for slot in 0..slots {
                let begin = day.arrival_h[vehicle].max(day.edge_h[slot]);
                let end = day.departure_h[vehicle].min(day.edge_h[slot + 1]);
                room[vehicle * slots + slot] = (end - begin).max(0.0) * day.power_kw[vehicle];
            }
            members[day.group[vehicle].unsigned_abs() as usize].push(vehicle);
        }
        let by_group =
            |group: usize| (0..slots).map(move |slot| day.group_kw[group] * length(slot));
        Self {
            day,
            slots,
            placed: vec![0.0; room.len()],
            room,
            left: day.energy_kwh.to_vec(),
            members,
            group_room: (0..groups).flat_map(by_group).collect(),
            group_placed: vec![0.0; groups * slots],
            slot_room: (0..slots).map(|slot| day.site_kw * length(slot)).collect(),
            from: vec![UNSEEN; vehicles + groups * slots + slots],
            queue: VecDeque::new(),
        }
    }

    fn number(&self, place: Place) -> usize {
        let vehicles = self.left.len();
        match place {
            Place::Vehicle(vehicle) => vehicle,
            Place::Group(group, slot) => vehicles + group * self.slots + slot,
            Place::Slot(slot) => vehicles + self.group_room.len() + slot,
        }
    }

    fn place(&self, number: usize) -> Place {
        let vehicles = self.left.len();
        if number < vehicles {
            return Place::Vehicle(number);
        }
        let at = number - vehicles;
        if at < self.group_room.len() {
            return Place::Group(at / self.slots, at % self.slots);
        }
        Place::Slot(at - self.group_room.len())
    }

    /// Place what earns most, class by class, the dearest first.
    fn fill(&mut self) {
        let mut classes: Vec<f64> = self.day.earns.iter().copied().filter(|&e| e > 0.0).collect();
        classes.sort_by(|a, b| b.total_cmp(a));
        classes.dedup();
        let mut order: Vec<usize> = (0..self.left.len()).collect();
        order.sort_by(|&a, &b| self.day.departure_h[a].total_cmp(&self.day.departure_h[b]));
        for class in classes {
            for &vehicle in &order {
                self.fill_directly(vehicle, class);
            }
            while self.augment(class) {}
        }
    }

    fn fill_directly(&mut self, vehicle: usize, class: f64) {
        let group = self.day.group[vehicle].unsigned_abs() as usize;
        for slot in (0..self.slots).filter(|&slot| self.day.earns[slot] == class) {
            let (mine, ours) = (vehicle * self.slots + slot, group * self.slots + slot);
            let energy = (self.room[mine] - self.placed[mine])
                .min(self.left[vehicle])
                .min(self.slot_room[slot])
                .min(self.group_room[ours] - self.group_placed[ours]);
            if energy > 0.0 {
                self.placed[mine] += energy;
                self.group_placed[ours] += energy;
                self.left[vehicle] -= energy;
                self.slot_room[slot] -= energy;
            }
        }
    }

    fn begin(&mut self) {
        self.from.fill(UNSEEN);
        self.queue.clear();
    }

    fn visit(&mut self, place: Place, from: usize) {
        let number = self.number(place);
        if self.from[number] == UNSEEN {
            self.from[number] = from;
            self.queue.push_back(number);
        }
    }

    /// Place more of what is left in slots that earn at least `class`, moving others; false where
    /// nothing more can be placed there.
    fn augment(&mut self, class: f64) -> bool {
        self.begin();
        for vehicle in 0..self.left.len() {
            if self.left[vehicle] > NOTHING {
                self.visit(Place::Vehicle(vehicle), BEGIN);
            }
        }
        while let Some(number) = self.queue.pop_front() {
            match self.place(number) {
                Place::Vehicle(vehicle) => {
                    let group = self.day.group[vehicle].unsigned_abs() as usize;
                    for slot in 0..self.slots {
                        let at = vehicle * self.slots + slot;
                        let free = self.room[at] - self.placed[at] > NOTHING;
                        if free && self.day.earns[slot] >= class {
                            self.visit(Place::Group(group, slot), number);
                        }
                    }
                }
                Place::Group(group, slot) => {
                    let at = group * self.slots + slot;
                    if self.group_room[at] - self.group_placed[at] > NOTHING {
                        self.visit(Place::Slot(slot), number);
                        if self.slot_room[slot] > NOTHING {
                            self.push(slot);
                            return true;
                        }
                    }
                    for member in 0..self.members[group].len() {
                        let vehicle = self.members[group][member];
                        if self.placed[vehicle * self.slots + slot] > NOTHING {
                            self.visit(Place::Vehicle(vehicle), number);
                        }
                    }
                }
                Place::Slot(slot) => {
                    for group in 0..self.members.len() {
                        if self.group_placed[group * self.slots + slot] > NOTHING {
                            self.visit(Place::Group(group, slot), number);
                        }
                    }
                }
            }
        }
        false
    }

    /// Place along the way that led to a slot.
    fn push(&mut self, slot: usize) {
        let end = self.number(Place::Slot(slot));
        let mut most = self.slot_room[slot];
        let mut at = end;
        while self.from[at] != BEGIN {
            most = most.min(self.between(self.from[at], at));
            at = self.from[at];
        }
        most = most.min(self.left[at]);
        self.left[at] -= most;
        self.slot_room[slot] -= most;
        at = end;
        while self.from[at] != BEGIN {
            self.move_between(self.from[at], at, most);
            at = self.from[at];
        }
    }

    /// How much can move from one place to the next.
    fn between(&self, from: usize, to: usize) -> f64 {
        match (self.place(from), self.place(to)) {
            (Place::Vehicle(vehicle), Place::Group(_, slot)) => {
                let at = vehicle * self.slots + slot;
                self.room[at] - self.placed[at]
            }
            (Place::Group(_, slot), Place::Vehicle(vehicle)) => {
                self.placed[vehicle * self.slots + slot]
            }
            (Place::Group(group, slot), Place::Slot(_)) => {
                let at = group * self.slots + slot;
                self.group_room[at] - self.group_placed[at]
            }
            (Place::Slot(_), Place::Group(group, slot)) => {
                self.group_placed[group * self.slots + slot]
            }
            _ => 0.0,
        }
    }

    fn move_between(&mut self, from: usize, to: usize, energy: f64) {
        match (self.place(from), self.place(to)) {
            (Place::Vehicle(vehicle), Place::Group(_, slot)) => {
                self.placed[vehicle * self.slots + slot] += energy;
            }
            (Place::Group(_, slot), Place::Vehicle(vehicle)) => {
                self.placed[vehicle * self.slots + slot] -= energy;
            }
            (Place::Group(group, slot), Place::Slot(_)) => {
                self.group_placed[group * self.slots + slot] += energy;
            }
            (Place::Slot(_), Place::Group(group, slot)) => {
                self.group_placed[group * self.slots + slot] -= energy;
            }
            _ => {}
        }
    }

    /// What the day earns less where a vehicle wants a kilowatt-hour less.
    fn loss(&mut self, vehicle: usize) -> f64 {
        if self.left[vehicle] > NOTHING {
            return 0.0;
        }
        self.begin();
        self.visit(Place::Vehicle(vehicle), BEGIN);
        let least = self.least_freed(f64::INFINITY);
        if least.is_finite() { least } else { 0.0 }
    }

    /// What the day earns more with a kilowatt more for the site.
    fn more(&mut self) -> f64 {
        let mut sum = 0.0;
        for slot in 0..self.slots {
            let earns = self.day.earns[slot];
            if earns > 0.0 && self.slot_room[slot] <= NOTHING {
                self.begin();
                self.visit(Place::Slot(slot), BEGIN);
                let length = self.day.edge_h[slot + 1] - self.day.edge_h[slot];
                sum += (earns - self.least_freed(earns)) * length;
            }
        }
        sum
    }

    /// Where the places that are visited become free: what the slot earns that is free in the end,
    /// once others have moved to better ones; 0 where someone gets what nobody had room for.
    fn least_freed(&mut self, start: f64) -> f64 {
        let mut least = start;
        while let Some(number) = self.queue.pop_front() {
            if least <= 0.0 {
                break;
            }
            match self.place(number) {
                Place::Vehicle(vehicle) => {
                    let group = self.day.group[vehicle].unsigned_abs() as usize;
                    for slot in 0..self.slots {
                        if self.placed[vehicle * self.slots + slot] > NOTHING {
                            self.visit(Place::Group(group, slot), number);
                        }
                    }
                }
                Place::Group(group, slot) => {
                    for member in 0..self.members[group].len() {
                        let vehicle = self.members[group][member];
                        let at = vehicle * self.slots + slot;
                        if self.room[at] - self.placed[at] > NOTHING {
                            if self.left[vehicle] > NOTHING {
                                return 0.0;
                            }
                            self.visit(Place::Vehicle(vehicle), number);
                        }
                    }
                    least = least.min(self.day.earns[slot]);
                    self.visit(Place::Slot(slot), number);
                }
                Place::Slot(slot) => {
                    for group in 0..self.members.len() {
                        let at = group * self.slots + slot;
                        if self.group_room[at] - self.group_placed[at] > NOTHING {
                            self.visit(Place::Group(group, slot), number);
                        }
                    }
                }
            }
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One slot of now and one of later, of an hour each; the site carries 10 kW.
    fn day<'a>(energy_kwh: &'a [f64], power_kw: &'a [f64], earns: &'a [f64]) -> Day<'a> {
        Day {
            arrival_h: &[0.0, 0.0],
            departure_h: &[2.0, 2.0],
            energy_kwh,
            power_kw,
            group: &[0, 0],
            group_kw: &[100.0],
            edge_h: &[0.0, 1.0, 2.0],
            earns,
            site_kw: 10.0,
        }
    }

    #[test]
    fn waiting_is_worth_the_better_slot_while_it_has_room() -> Result<(), NetworkError> {
        let found = worth(&day(&[4.0, 4.0], &[7.0, 7.0], &[0.1, 0.2]), 2)?;
        assert_eq!(found, Worth { loss: vec![0.2, 0.2], more: 0.0 });
        Ok(())
    }

    #[test]
    fn where_the_better_slot_is_full_the_last_of_all_is_worth_the_other_one()
    -> Result<(), NetworkError> {
        let found = worth(&day(&[7.0, 7.0], &[7.0, 7.0], &[0.1, 0.2]), 2)?;
        assert_eq!(found.loss, [0.1, 0.1]);
        assert!((found.more - 0.1).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn who_does_not_get_all_has_nothing_to_lose() -> Result<(), NetworkError> {
        let mut short = day(&[20.0, 3.0], &[20.0, 7.0], &[0.1, 0.2]);
        short.departure_h = &[2.0, 1.0];
        let found = worth(&short, 2)?;
        assert_eq!(found.loss, [0.0, 0.0]);
        assert!((found.more - 0.3).abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn a_group_that_is_full_holds_its_own_back_and_nobody_else() -> Result<(), NetworkError> {
        let mut two = day(&[6.0, 6.0], &[7.0, 7.0], &[0.1, 0.2]);
        two.group = &[0, 1];
        two.group_kw = &[4.0, 100.0];
        let found = worth(&two, 2)?;
        assert_eq!(found.loss, [0.1, 0.2]);
        assert!(found.more.abs() < 1e-9);
        Ok(())
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        let mut wrong = day(&[6.0, 6.0], &[7.0, 7.0], &[0.1, 0.2]);
        wrong.group = &[0, 1];
        let said = |day: &Day<'_>| worth(day, 2).map_err(|error| error.to_string());
        assert!(said(&wrong).is_err_and(|error| error.starts_with("group[1]")));
        wrong.group = &[0];
        assert!(said(&wrong).is_err_and(|error| error.starts_with("group has 1")));
    }
}
