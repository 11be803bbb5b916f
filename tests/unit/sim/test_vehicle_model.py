"""What a simulated vehicle may and may not do, whatever it is offered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import InvalidInput
from controlplane.sim.vehicle import Vehicle, VehicleSpec, VehicleState

VOLTAGE_V = 230

specs = st.builds(
    VehicleSpec,
    battery_wh=st.floats(5_000, 90_000),
    phases=st.integers(1, 3),
    current_max_a=st.floats(6, 80),
    power_max_w=st.floats(3_000, 150_000),
    efficiency=st.floats(0.8, 1.0),
    pilot_delay_s=st.floats(0, 5),
    ramp_up_a_per_s=st.floats(0.5, 50),
    ramp_down_a_per_s=st.floats(5, 100),
    sleep_after_s=st.none() | st.floats(1, 60),
    wake_delay_s=st.floats(0, 10),
)
offers = st.lists(st.tuples(st.floats(0.01, 30), st.floats(0, 80)), min_size=1, max_size=40)


@given(spec=specs, soc=st.floats(0, 1), offers=offers, outlet_phases=st.integers(1, 3))
def test_energy_is_conserved_and_limits_hold(
    spec: VehicleSpec, soc: float, offers: list[tuple[float, float]], outlet_phases: int
) -> None:
    vehicle = Vehicle(spec, soc=soc, outlet_phases=outlet_phases)
    drawn_wh = 0.0
    highest_a = 0.0
    for duration_s, offered_a in offers:
        highest_a = max(highest_a, offered_a)
        draw = vehicle.step(duration_s, offered_a)
        drawn_wh += draw.energy_wh
        assert 0 <= draw.current_a <= min(spec.current_max_a, highest_a) + 1e-9
        assert draw.phases <= outlet_phases
        assert draw.energy_wh >= 0
        assert 0 <= vehicle.soc <= 1
    gained_wh = (vehicle.soc - soc) * spec.battery_wh
    assert gained_wh == pytest.approx(drawn_wh * spec.efficiency, rel=1e-6, abs=1e-3)
    assert vehicle.drawn_wh == pytest.approx(drawn_wh)


@given(spec=specs, offers=offers, last_a=st.floats(0, 80))
def test_a_standing_offer_is_never_exceeded(
    spec: VehicleSpec, offers: list[tuple[float, float]], last_a: float
) -> None:
    vehicle = Vehicle(spec, soc=0.1)
    for duration_s, offered_a in offers:
        vehicle.step(duration_s, offered_a)
    reaction_s = spec.pilot_delay_s + spec.current_max_a / spec.ramp_down_a_per_s
    vehicle.step(spec.pilot_delay_s, last_a)
    vehicle.step(reaction_s, last_a)
    draw = vehicle.step(0.01, last_a)
    assert draw.current_a <= last_a + 1e-9
    if last_a < spec.current_min_a:
        assert draw.current_a == 0


def charged(vehicle: Vehicle, *, seconds: int, offered_a: float) -> float:
    return sum(vehicle.step(1.0, offered_a).energy_wh for _ in range(seconds))


def test_it_reaches_its_on_board_limit_and_no_more() -> None:
    vehicle = Vehicle(VehicleSpec(battery_wh=60_000, phases=3, current_max_a=16), soc=0.2)
    charged(vehicle, seconds=60, offered_a=32)
    assert vehicle.current_a == 16
    assert vehicle.state is VehicleState.CHARGING


def test_it_waits_below_six_amperes() -> None:
    vehicle = Vehicle(VehicleSpec(battery_wh=60_000), soc=0.2)
    assert charged(vehicle, seconds=60, offered_a=5.9) == 0
    assert vehicle.state is VehicleState.WAITING
    assert charged(vehicle, seconds=60, offered_a=6.0) > 0


def test_it_tapers_and_then_it_is_full() -> None:
    spec = VehicleSpec(battery_wh=50_000, phases=3, current_max_a=72, power_max_w=45_000)
    vehicle = Vehicle(spec, soc=0.7)
    powers = [(vehicle.soc, vehicle.step(1.0, 72).power_w) for _ in range(4 * 3_600)]
    assert vehicle.state is VehicleState.FULL
    below = [power for soc, power in powers if 0.71 < soc < 0.79]
    at_90 = [power for soc, power in powers if 0.899 < soc < 0.901]
    assert max(below) == pytest.approx(min(below))
    assert at_90[0] == pytest.approx(below[0] / 2, rel=0.02)
    room_wh = 0.3 * spec.battery_wh / spec.efficiency
    assert vehicle.drawn_wh == pytest.approx(room_wh)


def test_it_stops_where_its_driver_set_the_charge_limit() -> None:
    spec = VehicleSpec(battery_wh=50_000, charge_limit_soc=0.6)
    vehicle = Vehicle(spec, soc=0.5)
    charged(vehicle, seconds=4 * 3_600, offered_a=16)
    assert vehicle.state is VehicleState.FULL
    assert vehicle.soc == pytest.approx(0.6)
    assert vehicle.drawn_wh == pytest.approx(0.1 * spec.battery_wh / spec.efficiency)


def test_a_sleeper_needs_a_fresh_offer_and_time() -> None:
    spec = VehicleSpec(battery_wh=60_000, sleep_after_s=10, wake_delay_s=5, pilot_delay_s=0)
    vehicle = Vehicle(spec, soc=0.2)
    charged(vehicle, seconds=20, offered_a=0)
    assert vehicle.state is VehicleState.ASLEEP
    assert charged(vehicle, seconds=5, offered_a=16) == 0
    assert charged(vehicle, seconds=5, offered_a=16) > 0
    assert not vehicle.asleep


def test_a_one_phase_vehicle_uses_one_conductor() -> None:
    vehicle = Vehicle(VehicleSpec(battery_wh=60_000, phases=1), soc=0.2, outlet_phases=3)
    draw = [vehicle.step(1.0, 16) for _ in range(10)][-1]
    assert draw.phases == 1
    assert draw.power_w == pytest.approx(16 * VOLTAGE_V)


@pytest.mark.parametrize(
    "fault", [{"phases": 4}, {"efficiency": 0.0}, {"battery_wh": 0.0}, {"ramp_up_a_per_s": 0.0}]
)
def test_impossible_vehicles_are_refused(fault: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        VehicleSpec(**({"battery_wh": 1_000.0} | fault))  # type: ignore[arg-type]


def test_a_vehicle_that_is_left_alone_takes_what_it_would_have_taken_step_by_step() -> None:
    """Between two steps that `steady_s` allows, the current stands still."""
    spec = VehicleSpec(battery_wh=8_000, phases=3, current_max_a=16, sleep_after_s=600)
    alone, watched = Vehicle(spec, soc=0.5), Vehicle(spec, soc=0.5)
    steps = 0
    for offered_a, lasts_s in ((0.0, 900), (16.0, 1_200), (9.0, 600), (32.0, 5_000)):
        for _ in range(lasts_s):
            watched.step(1.0, offered_a)
        alone.step(0.0, offered_a)
        left_s = float(lasts_s)
        while left_s > 0:
            step_s = min(left_s, max(1.0, alone.steady_s()))
            alone.step(step_s, offered_a)
            left_s -= step_s
            steps += 1
    assert steps < 400
    assert alone.asleep == watched.asleep
    assert alone.drawn_wh == pytest.approx(watched.drawn_wh, rel=0.01)


def test_a_vehicle_with_a_rhythm_rests_as_long_as_it_draws() -> None:
    vehicle = Vehicle(VehicleSpec(battery_wh=60_000, rhythm_s=100.0), soc=0.2)
    drew = [vehicle.step(1.0, 16.0).current_a > 0 for _ in range(400)]
    assert (any(drew[:90]), any(drew[110:190]), any(drew[210:290])) == (True, False, True)
    assert vehicle.usable_a() == 0 or drew[-1]


def test_an_open_contactor_stops_the_current_at_once() -> None:
    vehicle = Vehicle(VehicleSpec(battery_wh=60_000, ramp_down_a_per_s=1.0), soc=0.2)
    vehicle.step(30.0, 16.0)
    assert vehicle.step(1.0, 16.0).current_a == 16.0
    vehicle.cut_off()
    assert vehicle.step(0.0, 0.0).current_a == 0.0
    assert vehicle.step(1.0, 6.0).current_a > 0.0, "a new offer is followed as after any pause"
