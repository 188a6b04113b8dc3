"""What goes and what stays, by age, by size and by need: pure."""

from datetime import UTC, date, datetime, timedelta

import pytest

from midas_ray.retention.choose import Choice, Limits, choose
from midas_ray.retention.needs import made_from
from midas_ray.retention.units import Key, Need, Unit
from midas_ray.storage import Partition

FIRST = date(2026, 1, 1)
NOW = datetime(2026, 1, 9, tzinfo=UTC)
"""When 8 January has just ended."""
DAY_S = 86400.0
HOUR_NS = 3600 * 10**9


def day(number: int) -> date:
    return date(2026, 1, number)


def raw_path(on: date, hour: int) -> str:
    start = datetime(on.year, on.month, on.day, hour, tzinfo=UTC)
    return f"raw/venue=v/symbol=a/date={on}/{int(start.timestamp()) * 10**9 + 5}-1.jsonl.zst"


ALL = ("raw", "clean", "features", "feature_stats")


def some_units(tables: tuple[str, ...] = ALL, days: int = 8, size: int = 10) -> dict[Key, Unit]:
    """`size` bytes of each table on each of the first days of 2026; raw covers whole days."""
    units = {}
    for table in tables:
        for number in range(1, days + 1):
            key = Key(table, "a", day(number))
            paths = [raw_path(key.day, hour) for hour in (0, 12, 23)] if table == "raw" else ["x"]
            units[key] = Unit(key, size, {Partition(table, "v", "a", key.day): paths})
    return units


def chosen(
    units: dict[Key, Unit], older_days: float | None = None, max_size: float | None = None, **others: object
) -> Choice:
    tables = others.pop("tables", ALL)
    needs = others.pop("needs", {})
    limits = Limits(None if older_days is None else older_days * DAY_S, max_size)
    return choose(units, tables, needs, made_from, limits, NOW, **others)  # type: ignore[arg-type]


def days_of(choice: Choice, table: str) -> list[int]:
    return [unit.key.day.day for unit in choice.go if unit.key.table == table]


def test_a_day_goes_once_it_ended_that_long_ago() -> None:
    units = some_units(("raw",))
    assert days_of(chosen(units, 7), "raw") == [1]
    assert days_of(chosen(units, 7 + 1 / DAY_S), "raw") == []
    assert days_of(chosen(units, 5.5), "raw") == [1, 2]
    assert {reason for _, reason in chosen(units, 5.5).kept} == {"younger than --older-than"}


def test_the_oldest_days_go_until_the_rest_fits() -> None:
    units = some_units(("raw",))
    choice = chosen(units, max_size=50)
    assert (days_of(choice, "raw"), choice.size_left) == ([1, 2, 3], 50)
    assert days_of(chosen(units, max_size=49), "raw") == [1, 2, 3, 4]
    assert days_of(chosen(units, max_size=80), "raw") == []
    assert {reason for _, reason in choice.kept} == {"within --max-size"}


def test_both_limits_hold() -> None:
    units = some_units(("raw",))
    assert days_of(chosen(units, 6, max_size=50), "raw") == [1, 2, 3]
    assert days_of(chosen(units, 2, max_size=50), "raw") == [1, 2, 3, 4, 5, 6]


def test_with_neither_limit_everything_goes() -> None:
    assert len(chosen(some_units()).go) == 32


def test_what_is_needed_stays_and_says_why() -> None:
    units = some_units(("raw",))
    needs = {Key("raw", "a", day(2)): Need("unfinished", "not reconstructed yet")}
    choice = chosen(units, 5, needs=needs)
    assert days_of(choice, "raw") == [1, 3]
    assert dict((unit.key.day.day, reason) for unit, reason in choice.kept)[2] == "not reconstructed yet"
    assert choice.held_back == 1


def test_a_need_makes_room_elsewhere() -> None:
    """By size a needed old day is passed over, and a younger one goes in its place."""
    needs = {Key("raw", "a", day(1)): Need("unfinished", "x")}
    assert days_of(chosen(some_units(("raw",)), max_size=60, needs=needs), "raw") == [2, 3]


def test_what_a_stage_would_make_again_waits_for_its_source() -> None:
    """Raw of 4 January 00:00 holds the end of 3 January: clean of that day stays one day longer than its raw."""
    choice = chosen(some_units(), 5)
    assert days_of(choice, "raw") == [1, 2, 3]
    assert days_of(choice, "clean") == days_of(choice, "features") == [1, 2]
    assert days_of(choice, "feature_stats") == [1, 2, 3]
    kept = {unit.key: reason for unit, reason in choice.kept}
    assert kept[Key("clean", "a", day(3))] == "midas reconstruct would make it again from the raw that is there"
    assert kept[Key("features", "a", day(3))] == "midas features would make it again from the clean that is there"


def test_raw_that_does_not_reach_midnight_does_not_hold_its_neighbours() -> None:
    units = some_units(("raw", "clean"), days=3)
    units[Key("raw", "a", day(3))].partitions = {Partition("raw", "v", "a", day(3)): [raw_path(day(3), 5)]}
    del units[Key("raw", "a", day(1))], units[Key("raw", "a", day(2))]
    assert days_of(chosen(units), "clean") == [1, 2, 3]
    assert days_of(chosen(units, tables=("clean",)), "clean") == [1, 2]
    units[Key("raw", "a", day(3))].partitions = {Partition("raw", "v", "a", day(3)): [raw_path(day(3), 0)]}
    assert days_of(chosen(units, tables=("clean",)), "clean") == [1]


def test_tables_that_were_not_chosen_neither_go_nor_count() -> None:
    units = some_units(size=10)
    choice = chosen(units, max_size=80, tables=("raw",))
    assert (choice.go, choice.size_left) == ([], 80)
    assert days_of(chosen(units, tables=("clean",)), "clean") == []
    assert days_of(chosen(units, tables=("clean",), delete_unfinished=True), "clean") == list(range(1, 9))


def test_by_size_what_came_from_a_day_follows_it_before_younger_raw() -> None:
    choice = chosen(some_units(), max_size=10 * 32 - 1)
    assert [unit.key for unit in choice.go] == [Key("raw", "a", FIRST)]
    choice = chosen(some_units(), max_size=10 * 32 - 41)
    assert [(unit.key.table, unit.key.day.day) for unit in choice.go] == [
        ("raw", 1),
        ("raw", 2),
        ("clean", 1),
        ("feature_stats", 1),
        ("features", 1),
    ]


@pytest.mark.parametrize("older_days", [0.5, 3, 7])
def test_a_second_run_has_nothing_left_to_do(older_days: float) -> None:
    units = some_units()
    for unit in chosen(units, older_days).go:
        del units[unit.key]
    assert chosen(units, older_days).go == []
    assert all(NOW - unit.end < timedelta(days=older_days + 1) for unit in units.values() if unit.key.table != "raw")
