//! How heavy each vehicle and each row is, by which steps are scaled.

use super::layout::{Kind, Layout, POWER, SIDES};
use crate::network::NONE;

impl Layout {
    /// The sums of the coefficients, by which steps are scaled (Pock and Chambolle, Diagonal
    /// preconditioning for first order primal-dual algorithms, ICCV 2011).
    pub(super) fn weigh(&mut self) {
        /// Keeps steps of those below no row in the range of their currents.
        const LEAST: f64 = 0.05;
        let slots = self.slots;
        self.weight = vec![0.0; self.limit.len()];
        for class in &mut self.classes {
            let mut count = vec![[0.0_f64; SIDES]; slots];
            for car in &self.cars[class.cars.clone()] {
                for slot in car.slots() {
                    count[slot][0] += 1.0;
                    count[slot][1] += f64::from(u8::from(car.two_way));
                }
            }
            let mut total = [0.0; SIDES];
            for (side, total) in total.iter_mut().enumerate() {
                let mut node = class.node[side];
                while node != NONE {
                    for (kind, &block) in self.sides[side].block[node as usize].iter().enumerate() {
                        let own = if kind == POWER {
                            class.kw
                        } else {
                            f64::from(class.lines >> kind & 1)
                        };
                        if block == NONE || own == 0.0 {
                            continue;
                        }
                        *total += own;
                        let rows = &mut self.weight[block as usize * slots..][..slots];
                        for (sum, count) in rows.iter_mut().zip(&count) {
                            *sum += own * count[side];
                        }
                    }
                    node = self.sides[side].parent[node as usize];
                }
            }
            class.weight = total[0].max(if class.two_way { total[1] } else { 0.0 });
            for (block, kind) in self.kinds.iter().enumerate() {
                let own = match *kind {
                    Kind::Energy { meter } if meter == class.meter as usize => {
                        let prices = &self.price[meter * slots..][..slots];
                        if prices.iter().all(|[low, high]| low == high) {
                            continue;
                        }
                        class.kw * self.slot_h
                    }
                    Kind::Demand { charge } if self.demand[charge].1 == class.meter as usize => {
                        class.kw
                    }
                    _ => continue,
                };
                class.weight += own;
                let rows = &mut self.weight[block * slots..][..slots];
                for (sum, count) in rows.iter_mut().zip(&count) {
                    *sum += own * (count[0] + count[1]);
                }
            }
            for car in &mut self.cars[class.cars.clone()] {
                let taper =
                    car.taper.as_ref().map_or(0.0, |taper| car.taper_row_weight(taper, car.count));
                car.weight = (class.weight + taper).max(LEAST);
            }
        }
    }
}
