"""Clocks of worlds, and the parsing of durations and instants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mockserver.clock import MAX_SECONDS, Clock, Wall, duration, instant, parse_duration, parse_instant

walls = st.floats(0, 4e9)


@given(walls)
def test_a_real_clock_shows_the_machines_time(wall: float) -> None:
    clock = Clock()
    assert clock.mode == "real"
    assert clock.at(wall) == wall


@given(walls, st.floats(0, 1e6))
def test_a_frozen_clock_never_advances(wall: float, later: float) -> None:
    clock = Clock().frozen(wall, at=1_000.0)
    assert clock.mode == "frozen"
    assert clock.at(wall + later) == 1_000.0


def test_a_scaled_clock_advances_at_its_rate() -> None:
    clock = Clock(virtual=1_000.0, wall=50.0, rate=60.0)
    assert clock.mode == "scaled"
    assert clock.at(50.0) == 1_000.0
    assert clock.at(52.0) == 1_120.0


def test_advancing_a_clock_keeps_its_rate() -> None:
    assert Clock(1_000.0, 50.0, 60.0).advanced(51.0, 5.0) == Clock(1_065.0, 51.0, 60.0)
    ahead = Clock().advanced(50.0, 3_600.0)
    assert ahead.mode == "offset"
    assert ahead.at(60.0) == 3_660.0


@pytest.mark.parametrize(("virtual", "seconds"), [(1_199.999, 1_199), (1_200.0, 1_200), (1_200.999, 1_200), (-0.5, -1)])
def test_seconds_are_rounded_down(virtual: float, seconds: int) -> None:
    assert Clock(virtual, 0.0, 0.0).seconds(99.0) == seconds


def test_the_wall_is_monotonic_when_the_systems_time_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Wall()
    before = wall.now()
    monkeypatch.setattr("mockserver.clock.time.time", lambda: 0.0)
    assert before <= wall.now() < before + 60


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20m", 1_200),
        ("1h30m", 5_400),
        ("-19m", -1_140),
        ("+2d", 172_800),
        ("1w", 604_800),
        ("1.5s", 1.5),
        ("50ms", 0.05),
        ("1m500ms", 60.5),
        ("90", 90),
        ("PT20M", 1_200),
        ("P1DT2H", 93_600),
        ("PT0.5S", 0.5),
        ("-PT1M", -60),
    ],
)
def test_valid_durations_are_parsed(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "m", "20 minutes", "P", "PT", "1m1", "--1m", "1e9", "nan", "inf", "9" * 40, "\u0661h", "\u0661", "PT\u0661S"],
)
def test_an_invalid_duration_raises_an_error_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 20m|longer than"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00", "2026-01-31 13:00:00+01:00", "2026-01-31T12:00:00.000Z"]
)
def test_valid_instants_are_parsed(text: str) -> None:
    assert parse_instant(text) == 1_769_860_800


def test_an_invalid_instant_raises_an_error_with_an_example() -> None:
    with pytest.raises(ValueError, match="write 2026-01-31T12:00:00Z"):
        parse_instant("yesterday")


def test_a_scaled_clock_stops_at_the_latest_and_earliest_instant() -> None:
    for sign in (1, -1):
        clock = Clock(sign * (MAX_SECONDS - 1), 0.0, sign * 1_000_000.0)
        assert clock.at(60.0) == sign * MAX_SECONDS
        assert clock.frozen(60.0).at(90.0) == sign * MAX_SECONDS
        assert clock.seconds(1e300) == sign * int(MAX_SECONDS)


@pytest.mark.parametrize(
    "value", [MAX_SECONDS + 1, -MAX_SECONDS - 1, float("inf"), float("nan"), 10**400, -(10**400), 1e19]
)
def test_numbers_out_of_range_are_not_instants_or_durations(value: float) -> None:
    for read in (instant, duration):
        with pytest.raises(ValueError, match="at most 253402300799 seconds"):
            read(value)


@pytest.mark.parametrize("value", [True, None, [], {}])
def test_values_of_other_types_are_not_instants_or_durations(value: object) -> None:
    for read in (instant, duration):
        with pytest.raises(ValueError, match="write 20"):
            read(value)


def test_the_latest_instant_is_the_end_of_the_year_9999() -> None:
    assert parse_instant("9999-12-31T23:59:59Z") == MAX_SECONDS
    with pytest.raises(ValueError, match="from 1970"):
        parse_instant("9999-12-31T23:59:59-01:00")


def test_numbers_in_range_are_instants_and_durations() -> None:
    for value in (MAX_SECONDS, -MAX_SECONDS, 0, 1.5, 1e-9):
        assert instant(value) == duration(value) == value
    for read in (parse_instant, parse_duration):
        with pytest.raises(ValueError, match="write 20") as caught:
            read("9" * 100_000)
        assert len(str(caught.value)) < 300
