"""Which symbols share a collector, and the file that keeps it."""

from pathlib import Path

import msgspec
import pytest

from midas_ray.capture.desired import plan_path, read_plan, write_plan
from midas_ray.capture.groups import Plan, add_symbols, pin, pinned, plan_up, remove_symbols, shared_settings
from midas_ray.errors import DataError, UsageError
from midas_ray.settings import Collect, Up

TWO = shared_settings(Collect(symbols_per_collector=2))
SPOT = TWO | {"venue": "binance-spot"}


def _groups(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {name: group.symbols for name, group in plan.groups.items()}


def test_symbols_fill_groups_and_stay_where_they_are() -> None:
    plan = add_symbols(Plan(), ["aa", "bb", "cc"], TWO)
    assert _groups(plan) == {"binance-futures-1": ("aa", "bb"), "binance-futures-2": ("cc",)}
    plan = add_symbols(plan, ["cc", "dd", "aa", "ee"], TWO)
    assert _groups(plan) == {
        "binance-futures-1": ("aa", "bb"),
        "binance-futures-2": ("cc", "dd"),
        "binance-futures-3": ("ee",),
    }
    plan = remove_symbols(plan, ["aa", "ee"])
    assert _groups(plan) == {"binance-futures-1": ("bb",), "binance-futures-2": ("cc", "dd")}
    plan = add_symbols(plan, ["ff", "gg"], TWO)
    assert _groups(plan) == {
        "binance-futures-1": ("bb", "ff"),
        "binance-futures-2": ("cc", "dd"),
        "binance-futures-3": ("gg",),
    }
    assert plan.symbols == ("bb", "ff", "cc", "dd", "gg")


def test_other_settings_or_another_venue_are_another_group() -> None:
    plan = add_symbols(Plan(), ["aa"], TWO)
    plan = add_symbols(plan, ["bb"], TWO | {"enable_book_ticker": True})
    plan = add_symbols(plan, ["cc"], SPOT)
    assert _groups(plan) == {"binance-futures-1": ("aa",), "binance-futures-2": ("bb",), "binance-spot-1": ("cc",)}


def test_what_runs_keeps_its_settings_and_what_rests_takes_those_of_the_call() -> None:
    ticker = TWO | {"enable_book_ticker": True}
    plan = add_symbols(Plan(), ["aa", "bb", "cc"], TWO)
    named = plan_up(plan, ("aa", "cc", "dd"), ticker, {"symbols"}, running={"binance-futures-1"})
    assert _groups(named) == {"binance-futures-1": ("aa", "bb"), "binance-futures-2": ("cc", "dd")}
    assert [group.settings["enable_book_ticker"] for group in named.groups.values()] == [False, True]

    unnamed = plan_up(plan, None, ticker | {"connections": 1}, {"connections"}, running={"binance-futures-1"})
    assert _groups(unnamed) == _groups(plan)
    assert [group.settings["connections"] for group in unnamed.groups.values()] == [2, 1]
    assert [group.settings["enable_book_ticker"] for group in unnamed.groups.values()] == [False, False]


def test_a_symbol_of_another_venue_is_refused() -> None:
    plan = add_symbols(Plan(), ["aa"], TWO)
    with pytest.raises(
        UsageError, match=r"--venue binance-spot: aa of binance-futures is collected .*down --symbols aa"
    ):
        plan_up(plan, ("aa",), SPOT, {"venue"}, set())
    with pytest.raises(UsageError, match="aa of binance-futures"):
        plan_up(plan, None, SPOT, {"venue"}, set())
    assert plan_up(plan, None, SPOT, set(), set()) == plan
    assert plan_up(plan, ("bb",), SPOT, {"venue"}, set()).symbols == ("aa", "bb")


def test_a_choice_is_made_once_and_forgotten_with_its_last_symbol() -> None:
    plan = pin(add_symbols(Plan(), ["aa", "bb"], TWO), "binance-futures", "top:2", ("aa", "bb"))
    assert pinned(plan, "binance-futures", "top:2") == ("aa", "bb")
    assert pinned(plan, "binance-spot", "top:2") is None
    assert pinned(remove_symbols(plan, ["aa"]), "binance-futures", "top:2") == ("aa", "bb")
    assert pinned(remove_symbols(plan, ["aa", "bb"]), "binance-futures", "top:2") is None


def test_what_a_call_says_itself_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNECTIONS", "1")
    settings = Up(data_dir="x")
    assert settings.connections == 1
    assert settings.model_fields_set & shared_settings(settings).keys() == {"connections"}
    assert "dashboard_port" not in shared_settings(settings)


def test_the_plan_comes_back_from_disk(tmp_path: Path) -> None:
    assert read_plan(tmp_path) == Plan()
    plan = pin(add_symbols(Plan(), ["aa", "bb", "cc"], TWO), "binance-futures", "top:2", ("aa", "bb"))
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    assert [path.name for path in plan_path(tmp_path).parent.iterdir()] == ["collectors.json"]
    collect = read_plan(tmp_path).groups["binance-futures-1"].collect("/data")
    assert (collect.symbols, collect.symbols_per_collector, collect.data_dir) == (("aa", "bb"), 2, "/data")


def test_a_damaged_plan_is_one_line(tmp_path: Path) -> None:
    write_plan(tmp_path, add_symbols(Plan(), ["aa"], TWO | {"connections": 7}))
    with pytest.raises(DataError, match="kept settings of aa: connections: Input should be 1 or 2, found 7"):
        read_plan(tmp_path).groups["binance-futures-1"].collect("/data")
    plan_path(tmp_path).write_bytes(plan_path(tmp_path).read_bytes()[:-9])
    with pytest.raises(
        DataError, match=r"collectors.json: expected the list of collected symbols, found: .*; delete it"
    ):
        read_plan(tmp_path)
    plan_path(tmp_path).write_bytes(msgspec.json.encode({"groups": {"g": {"symbols": ["aa"]}}}))
    with pytest.raises(DataError, match="settings"):
        read_plan(tmp_path)
