//! What is to be planned, refused by element where it contradicts itself.

use crate::error::{NetworkError, check_length, check_range};
use crate::input::check_value;
use crate::network::{NONE, Network};
use crate::units::{CAPACITY_MAX_MA, CURRENT_MAX_MA, PHASES};

/// The most slots of a horizon: 32 days of quarters of an hour, a month with the night after it.
pub const SLOTS_MAX: usize = 3_072;

/// The longest slot: a day, in seconds.
pub const SLOT_MAX_S: i64 = 86_400;

/// The largest power of a row or a building, in watts.
pub const POWER_MAX_W: i64 = 1_000_000_000_000;

/// The largest energy of one vehicle, in watt-hours.
pub const ENERGY_MAX_WH: i64 = 1_000_000_000;

/// The largest price of a kilowatt-hour or a kilowatt, in millionths of the currency.
pub const PRICE_MAX: i64 = 1_000_000_000_000;

/// The largest voltage that a vehicle's current drives.
pub const VOLTAGE_MAX_V: i64 = 100_000;

/// The most that one vehicle may draw or feed in, in milliwatts: ten megawatts.
pub const VEHICLE_POWER_MAX_MW: i64 = 10_000_000_000;

/// The furthest from the start of the horizon that a vehicle may come or go, in seconds.
pub const INSTANT_MAX_S: i64 = 1 << 40;

/// A thousand parts of a thousand: nothing is lost.
pub const PERMILLE: i64 = 1_000;

/// What a plan is asked for. The connectors of `network` are the vehicles, one for each session,
/// present or forecast; those that share a charger one after the other are vehicles of their own.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// The electrical tree with the vehicles on it; without combined rows.
    pub network: &'a Network,
    /// How many slots the horizon has.
    pub slots: usize,
    /// How long each is, in seconds.
    pub slot_s: i64,
    /// What the rows carry.
    pub limits: Limits<'a>,
    /// Where energy is paid for.
    pub meters: Meters<'a>,
    /// Who wants what.
    pub fleet: Fleet<'a>,
    /// What a kilowatt-hour is the worse for each slot that it is later: the preference for early
    /// charging where all else is equal, in millionths of the currency.
    pub late_price: i64,
}

/// What is left of the rows for vehicles, by slot: rating less building, margins and grid events.
/// Vehicles that draw and those that feed in are never netted against each other here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits<'a> {
    /// What may be drawn on each line of each node: `[(node * 3 + line) * slots + slot]`, mA.
    pub import_ma: &'a [i64],
    /// Optional: what may be drawn on all lines together: `[node * slots + slot]`, W.
    pub import_w: &'a [i64],
    /// Optional: what may be fed in on each line, as `import_ma`; nothing where left out.
    pub export_ma: &'a [i64],
    /// Optional: what may be fed in on all lines together, as `import_w`.
    pub export_w: &'a [i64],
}

/// Where energy is paid for. Prices are millionths of the currency.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meters<'a> {
    /// The node behind each meter; no meter is below another.
    pub node: &'a [i32],
    /// What else flows through it: building less sun, `[meter * slots + slot]`, W; below 0 where it
    /// is the sun that wins.
    pub base_w: &'a [i64],
    /// Price of a kilowatt-hour drawn, `[meter * slots + slot]`.
    pub import_price: &'a [i64],
    /// What a kilowatt-hour fed in earns, `[meter * slots + slot]`; at most the import price.
    pub export_price: &'a [i64],
    /// The meter of each demand charge.
    pub demand_meter: &'a [i32],
    /// Its price of a kilowatt of the highest slot above `demand_so_far_w`.
    pub demand_price: &'a [i64],
    /// The highest slot of the billing period so far, W.
    pub demand_so_far_w: &'a [i64],
    /// In which slots it is measured: `[demand * slots + slot]`.
    pub demand_slot: &'a [bool],
}

/// Who wants what; one entry for each vehicle. Energies are those in the battery, counted from what
/// is in it on arrival.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fleet<'a> {
    /// What the current of a milliampere on each of its lines gives: volts times lines, V.
    pub volts: &'a [i64],
    /// The most it draws on each of its lines, mA.
    pub max_ma: &'a [i64],
    /// When it comes and goes, seconds from the start of the horizon.
    pub arrival_s: &'a [i64],
    /// When it leaves, after `arrival_s`; energy that is due after the horizon is put off to then as
    /// far as full power allows.
    pub departure_s: &'a [i64],
    /// What it wants to have gained on departure, Wh; below 0 where it may leave with less.
    pub need_wh: &'a [i64],
    /// What fits into the battery, at least `need_wh`, Wh.
    pub room_wh: &'a [i64],
    /// What each missing kilowatt-hour of the need costs.
    pub penalty: &'a [i64],
    /// Optional: what of each thousand watt-hours drawn reaches the battery; all where left out.
    pub charge_permille: &'a [i64],
    /// Optional: the most it feeds in on each of its lines, mA; nothing where left out.
    pub discharge_ma: &'a [i64],
    /// Optional: what of each thousand watt-hours taken from the battery is fed in.
    pub discharge_permille: &'a [i64],
    /// Optional: how far below what it came with it may be discharged, Wh: down to the reserve.
    pub spare_wh: &'a [i64],
    /// Optional: the wear of each kilowatt-hour fed in.
    pub wear_price: &'a [i64],
    /// Optional: the gain from which on it charges less and less, Wh; never where left out.
    pub taper_from_wh: &'a [i64],
    /// Optional: what it still draws when full, mA; linear in between.
    pub taper_ma: &'a [i64],
}

impl Problem<'_> {
    /// Number of vehicles.
    #[must_use]
    pub fn vehicles(&self) -> usize {
        self.network.leaves()
    }

    /// Refuse what contradicts itself.
    pub(crate) fn refuse_bad_input(&self) -> Result<(), NetworkError> {
        let slots = i64::try_from(self.slots).unwrap_or(i64::MAX);
        check_argument("slots", slots, 1, SLOTS_MAX.try_into().unwrap_or(i64::MAX))?;
        check_argument("slot_s", self.slot_s, 1, SLOT_MAX_S)?;
        check_argument("late_price", self.late_price, 0, PRICE_MAX)?;
        let combined = i64::try_from(self.network.combined()).unwrap_or(i64::MAX);
        check_argument("combined rows", combined, 0, 0)?;
        self.check_limits()?;
        self.check_meters()?;
        self.check_fleet()?;
        self.check_metered()
    }

    fn check_limits(&self) -> Result<(), NetworkError> {
        let (rows, nodes) = (self.network.rows() * self.slots, self.network.nodes() * self.slots);
        let limits = &self.limits;
        check_length("import_ma", limits.import_ma, rows)?;
        check_range("import_ma", limits.import_ma, 0, CAPACITY_MAX_MA)?;
        check_optional("import_w", limits.import_w, nodes, 0, POWER_MAX_W)?;
        check_optional("export_ma", limits.export_ma, rows, 0, CAPACITY_MAX_MA)?;
        check_optional("export_w", limits.export_w, nodes, 0, POWER_MAX_W)
    }

    fn check_meters(&self) -> Result<(), NetworkError> {
        let meters = &self.meters;
        let count = meters.node.len() * self.slots;
        check_elements("meter_node", meters.node, self.network.nodes())?;
        check_length("base_w", meters.base_w, count)?;
        check_range("base_w", meters.base_w, -POWER_MAX_W, POWER_MAX_W)?;
        check_length("import_price", meters.import_price, count)?;
        check_range("import_price", meters.import_price, -PRICE_MAX, PRICE_MAX)?;
        check_length("export_price", meters.export_price, count)?;
        for (index, (&import, &export)) in
            meters.import_price.iter().zip(meters.export_price).enumerate()
        {
            // Whoever earned more than it pays could feed in what it draws, for ever.
            check_value("export_price", index, export, -PRICE_MAX, import)?;
        }
        let demands = meters.demand_meter.len();
        check_elements("demand_meter", meters.demand_meter, meters.node.len())?;
        check_length("demand_price", meters.demand_price, demands)?;
        check_range("demand_price", meters.demand_price, 0, PRICE_MAX)?;
        check_length("demand_so_far_w", meters.demand_so_far_w, demands)?;
        check_range("demand_so_far_w", meters.demand_so_far_w, 0, POWER_MAX_W)?;
        check_length("demand_slot", meters.demand_slot, demands * self.slots)
    }

    fn check_fleet(&self) -> Result<(), NetworkError> {
        let (count, fleet) = (self.vehicles(), &self.fleet);
        check_length("volts", fleet.volts, count)?;
        check_range("volts", fleet.volts, 1, VOLTAGE_MAX_V)?;
        check_length("max_ma", fleet.max_ma, count)?;
        check_range("max_ma", fleet.max_ma, 0, CURRENT_MAX_MA)?;
        check_length("arrival_s", fleet.arrival_s, count)?;
        check_range("arrival_s", fleet.arrival_s, -INSTANT_MAX_S, INSTANT_MAX_S)?;
        check_length("departure_s", fleet.departure_s, count)?;
        check_length("need_wh", fleet.need_wh, count)?;
        check_length("room_wh", fleet.room_wh, count)?;
        check_range("room_wh", fleet.room_wh, 0, ENERGY_MAX_WH)?;
        check_length("penalty", fleet.penalty, count)?;
        check_range("penalty", fleet.penalty, 0, PRICE_MAX)?;
        check_optional("charge_permille", fleet.charge_permille, count, 1, PERMILLE)?;
        check_optional("discharge_ma", fleet.discharge_ma, count, 0, CURRENT_MAX_MA)?;
        check_optional("discharge_permille", fleet.discharge_permille, count, 1, PERMILLE)?;
        check_optional("spare_wh", fleet.spare_wh, count, 0, ENERGY_MAX_WH)?;
        check_optional("wear_price", fleet.wear_price, count, 0, PRICE_MAX)?;
        check_optional("taper_from_wh", fleet.taper_from_wh, count, -ENERGY_MAX_WH, ENERGY_MAX_WH)?;
        check_optional("taper_ma", fleet.taper_ma, count, 0, CURRENT_MAX_MA)?;
        for index in 0..count {
            let spare = at(fleet.spare_wh, index, 0);
            let most_ma = VEHICLE_POWER_MAX_MW / fleet.volts[index];
            check_value("max_ma", index, fleet.max_ma[index], 0, most_ma)?;
            check_value("discharge_ma", index, at(fleet.discharge_ma, index, 0), 0, most_ma)?;
            check_value(
                "departure_s",
                index,
                fleet.departure_s[index],
                fleet.arrival_s[index] + 1,
                INSTANT_MAX_S + 1,
            )?;
            check_value("need_wh", index, fleet.need_wh[index], -spare, fleet.room_wh[index])?;
            check_value("taper_ma", index, at(fleet.taper_ma, index, 0), 0, fleet.max_ma[index])?;
        }
        if !fleet.taper_from_wh.is_empty() {
            check_length("taper_ma", fleet.taper_ma, count)?;
        }
        Ok(())
    }

    /// Every vehicle is below exactly one meter, or its energy would be free or paid for twice.
    fn check_metered(&self) -> Result<(), NetworkError> {
        let network = self.network;
        let above = self.meter_of_places();
        for (index, &node) in self.meters.node.iter().enumerate() {
            let place = network.place_of_node(node.unsigned_abs() as usize);
            let up = network.parent[place];
            let own = above[place] as usize == index;
            if !own || (up != NONE && above[up as usize] != NONE) {
                return Err(NetworkError::Metered { array: "meter_node", index });
            }
        }
        let bare = |leaf: &usize| above[network.group_of(*leaf).node as usize] == NONE;
        match (0..network.leaves()).find(bare) {
            None => Ok(()),
            Some(index) => Err(NetworkError::Unmetered { vehicle: index }),
        }
    }

    /// The meter above the node at each place, or `NONE`.
    pub(crate) fn meter_of_places(&self) -> Vec<u32> {
        let network = self.network;
        let mut meter = vec![NONE; network.nodes()];
        for (index, &node) in (0_u32..).zip(self.meters.node) {
            meter[network.place_of_node(node.unsigned_abs() as usize)] = index;
        }
        for place in 0..network.nodes() {
            let up = network.parent[place];
            if meter[place] == NONE && up != NONE {
                meter[place] = meter[up as usize];
            }
        }
        meter
    }

    /// The rows of a node, without the network's order: `(node * 3 + line) * slots`.
    pub(crate) fn row_start(&self, node: usize, line: usize) -> usize {
        (node * PHASES + line) * self.slots
    }
}

/// A value of an optional column.
pub(crate) fn at(values: &[i64], index: usize, otherwise: i64) -> i64 {
    values.get(index).copied().unwrap_or(otherwise)
}

fn check_argument(
    argument: &'static str,
    value: i64,
    least: i64,
    most: i64,
) -> Result<(), NetworkError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(NetworkError::Argument { argument, value, least, most })
}

fn check_optional(
    array: &'static str,
    values: &[i64],
    expected: usize,
    least: i64,
    most: i64,
) -> Result<(), NetworkError> {
    if !values.is_empty() {
        check_length(array, values, expected)?;
    }
    check_range(array, values, least, most)
}

fn check_elements(array: &'static str, values: &[i32], count: usize) -> Result<(), NetworkError> {
    let outside = |&value: &i32| usize::try_from(value).map_or(true, |value| value >= count);
    match values.iter().position(outside) {
        None => Ok(()),
        Some(index) => Err(NetworkError::Element { array, index, count }),
    }
}
