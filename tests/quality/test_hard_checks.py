"""Every hard check passes on sound data, and fails, naming the value, where its defect is planted."""

from pathlib import Path

import polars as pl
import pytest

from midas_ray import tables
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURES, POSITION
from midas_ray.quality.findings import CHECK, CHECKS
from midas_ray.quality.run import scan
from midas_ray.quality.source import Source
from midas_ray.storage import Storage
from tests.quality.conftest import Found, Validated
from tests.quality.made_up import START_US, VENUE, MadeUp, made_up

GAP_ROW = 605
"""A book row inside the depth gap."""

FIRST_LIVE_ROW = 620
GAP_BUCKET = 10


def _swap(data: MadeUp, table: str, row: int) -> None:
    frame = data.frames[table]
    order = list(range(len(frame)))
    order[row], order[row + 1] = order[row + 1], order[row]
    data.frames[table] = frame[order]


def _shift(data: MadeUp, table: str, row: int, us: int) -> None:
    moment = pl.lit(us).cast(pl.Duration("us"))
    at = pl.int_range(pl.len()) == row
    shifted = pl.when(at).then(pl.col("ts") + moment).otherwise(pl.col("ts"))
    data.frames[table] = data.frames[table].with_columns(shifted.alias("ts"))


def _repeat(data: MadeUp, table: str, row: int) -> None:
    frame = data.frames[table]
    data.frames[table] = pl.concat([frame[: row + 1], frame[row:]])


def _kind(data: MadeUp, row: int, feature: str, kind: int) -> None:
    kinds = data.frames["features"]["null_kinds"].to_list()
    changed = bytearray(kinds[row])
    changed[POSITION[feature]] = kind
    kinds[row] = bytes(changed)
    data.frames["features"] = data.frames["features"].with_columns(pl.Series("null_kinds", kinds))


def _value_in_gap(data: MadeUp, feature: str) -> None:
    data.set("features", GAP_BUCKET, **{feature: 0.5})
    _kind(data, GAP_BUCKET, feature, NullKind.VALUE)


def _book_numbers(data: MadeUp, row: int) -> None:
    data.set("book", row, bid_px_01=5000.0, bid_sz_01=1.0, ask_px_01=5000.1, ask_sz_01=1.0)


def _lose(data: MadeUp, *rows: int) -> None:
    """Book rows become rows of a gap."""
    frame = data.frames["book"]
    lost = pl.int_range(pl.len()).is_in(rows)
    numbers = [name for name in frame.columns if name.startswith(("bid_", "ask_", "ofi_"))]
    data.frames["book"] = frame.with_columns(
        *(pl.when(lost).then(None).otherwise(pl.col(name)).alias(name) for name in numbers),
        state=pl.when(lost).then(pl.lit("gap", dtype=frame.schema["state"])).otherwise(pl.col("state")),
    )


def _gap_bucket(data: MadeUp, row: int) -> None:
    """Everything with an input is a gap in a feature row."""
    for feature in FEATURES:
        if feature.inputs:
            data.set("features", row, **{feature.name: None})
            _kind(data, row, feature.name, NullKind.GAP)


def _without_ledger(data: MadeUp, stream: str) -> None:
    data.frames["gaps"] = data.frames["gaps"].filter(pl.col("stream") != stream)


PLANTS = {
    "schema: a column is missing": (
        "schema",
        lambda d: d.frames.update(book=d.frames["book"].drop("ofi_03")),
        "ofi_03",
    ),
    "schema: a column too many": (
        "schema",
        lambda d: d.frames.update(trades=d.frames["trades"].with_columns(x=pl.lit(1))),
        "column x",
    ),
    "schema: a wrong type": (
        "schema",
        lambda d: d.frames.update(trades=d.frames["trades"].cast({"trade_id": pl.Float64})),
        "trade_id of type double",
    ),
    "schema: times without a zone": (
        "schema",
        lambda d: d.frames.update(mark=d.frames["mark"].cast({"ts": pl.Datetime("us")})),
        "ts of type timestamp[us]",
    ),
    "schema: no decimals in the metadata": ("schema", lambda d: d.metadata["book"].pop("px_decimals"), "px_decimals"),
    "schema: an unknown trade source": (
        "schema",
        lambda d: d.metadata["trades"].update(trade_source="guess"),
        "trade_source=guess",
    ),
    "schema: another symbol inside": ("schema", lambda d: d.set("trades", 3, symbol="ethusdt"), "ethusdt"),
    "schema: an unknown state": (
        "schema",
        lambda d: d.frames.update(book=d.frames["book"].with_columns(state=pl.lit("maybe"))),
        "state maybe",
    ),
    "schema: a null where none may be": ("schema", lambda d: d.set("trades", 4, px=None), "1 nulls in px"),
    "schema: null kinds of another length": (
        "schema",
        lambda d: d.set("features", 4, null_kinds=b"\x00\x00"),
        "2 bytes of null_kinds",
    ),
    "ts_order: a book row twice": ("ts_order", lambda d: _repeat(d, "book", 7), "the same ts twice"),
    "ts_order: book rows swapped": ("ts_order", lambda d: _swap(d, "book", 7), "ts after 2026-01-05 00:00:09"),
    "ts_order: a book row off the grid": ("ts_order", lambda d: _shift(d, "book", 7, 1000), "off the grid"),
    "ts_order: a row of another hour": (
        "ts_order",
        lambda d: _shift(d, "trades", len(d.frames["trades"]) - 1, 3_600_000_000),
        "another hour or day",
    ),
    "ts_order: a trade twice": ("ts_order", lambda d: _repeat(d, "trades", 7), "trade 108 after trade 108"),
    "ts_order: trades swapped": ("ts_order", lambda d: _swap(d, "trades", 7), "trade 108 after trade 109"),
    "ts_order: a mark row twice": ("ts_order", lambda d: _repeat(d, "mark", 7), "the same ts twice"),
    "ts_order: a bar twice": ("ts_order", lambda d: _repeat(d, "bars", 7), "the same ts twice"),
    "ts_order: a feature row twice": ("ts_order", lambda d: _repeat(d, "features", 20), "the same ts twice"),
    "crossed_book: bid over ask": (
        "crossed_book",
        lambda d: d.set("book", 9, bid_px_01=9000.0),
        "best bid 9000",
    ),
    "crossed_book: bid at ask": (
        "crossed_book",
        lambda d: d.set("book", 9, bid_px_01=d.frames["book"]["ask_px_01"][9]),
        "best bid",
    ),
    "crossed_book: asks do not rise": ("crossed_book", lambda d: d.set("book", 9, ask_px_05=1.0), "ask prices"),
    "crossed_book: bids do not fall": ("crossed_book", lambda d: d.set("book", 9, bid_px_05=9000.0), "bid prices"),
    "crossed_book: a level missing in between": (
        "crossed_book",
        lambda d: d.set("book", 9, bid_px_05=None, bid_sz_05=None),
        "null",
    ),
    "ohlc_order: high under open": ("ohlc_order", lambda d: d.set("bars", 5, high=1.0), "high 1"),
    "ohlc_order: low over close, in features": ("ohlc_order", lambda d: d.set("features", 5, low=9e5), "low 900000"),
    "registry_bounds: a feature over its bound": (
        "registry_bounds",
        lambda d: d.set("features", 5, imbalance_1=1.5),
        "imbalance_1 1.5",
    ),
    "registry_bounds: a feature under its bound": (
        "registry_bounds",
        lambda d: d.set("features", 5, volume=-2.0),
        "volume -2",
    ),
    "registry_bounds: an infinite feature": (
        "registry_bounds",
        lambda d: d.set("features", 5, kyle_lambda=float("inf")),
        "kyle_lambda inf",
    ),
    "registry_bounds: NaN in place of a null": (
        "registry_bounds",
        lambda d: d.set("features", 5, ofi=float("nan")),
        "NaN in ofi",
    ),
    "registry_bounds: a print of size 0": ("registry_bounds", lambda d: d.set("trades", 5, qty=0.0), "qty 0"),
    "registry_bounds: a row of no print": ("registry_bounds", lambda d: d.set("trades", 5, count=0), "count 0"),
    "registry_bounds: a level of size 0": ("registry_bounds", lambda d: d.set("book", 5, bid_sz_03=0.0), "bid size"),
    "registry_bounds: a price without a size": (
        "registry_bounds",
        lambda d: d.set("book", 5, ask_sz_10=None),
        "ask price without a size",
    ),
    "registry_bounds: a negative volume of a bar": (
        "registry_bounds",
        lambda d: d.set("bars", 5, taker_buy_volume=-1.0),
        "taker_buy_volume -1",
    ),
    "number_in_gap: a price in a row of state gap": (
        "number_in_gap",
        lambda d: _book_numbers(d, GAP_ROW),
        "in a row of state gap",
    ),
    "number_in_gap: a live row inside a ledger gap": (
        "number_in_gap",
        lambda d: (_book_numbers(d, GAP_ROW), d.set("book", GAP_ROW, state="live")),
        "a live row, best bid 5000, inside a depth gap",
    ),
    "number_in_gap: OFI right after a gap": (
        "number_in_gap",
        lambda d: d.set("book", FIRST_LIVE_ROW, ofi_01=1.5),
        "OFI 1.5 in the first live row",
    ),
    "number_in_gap: a sum over a gap": ("number_in_gap", lambda d: _value_in_gap(d, "ofi"), "ofi 0.5"),
    "number_in_gap: a bar over lost trades": ("number_in_gap", lambda d: _value_in_gap(d, "volume"), "volume 0.5"),
    "number_in_gap: a spread at a lost moment": ("number_in_gap", lambda d: _lose(d, 719), "spread 0."),
    "number_in_gap: a return from a lost price": (
        "number_in_gap",
        lambda d: (_lose(d, 719), _gap_bucket(d, 11)),
        "returns 0.",
    ),
    "number_in_gap: a mean of no live row": (
        "number_in_gap",
        lambda d: _lose(d, *range(720, 780)),
        "liquidity_bid_1 0.",
    ),
    "null_kinds: a null without a reason": ("null_kinds", lambda d: _kind(d, GAP_BUCKET, "ofi", 0), "ofi null"),
    "null_kinds: a value with a reason": ("null_kinds", lambda d: _kind(d, 3, "ofi", 3), "with null kind 3"),
    "null_kinds: an unknown kind": ("null_kinds", lambda d: _kind(d, GAP_BUCKET, "ofi", 9), "null kind 9"),
    "price_tick: a price off the decimal grid": (
        "price_tick",
        lambda d: d.set("trades", 5, px=5000.001),
        "px 5000.001",
    ),
    "price_tick: a size off the decimal grid": (
        "price_tick",
        lambda d: d.set("book", 5, bid_sz_02=0.0005),
        "bid size 0.0005",
    ),
    "price_tick: a price on the grid, off the tick": (
        "price_tick",
        lambda d: d.set("trades", 5, px=5000.05),
        "price 5000.05",
    ),
    "ledger_ids: a trade id is skipped": (
        "ledger_ids",
        lambda d: d.drop_rows("trades", 50),
        "trade_id jumps from 150 to 152 (1 ids that no gap names)",
    ),
    "ledger_ids: the ledger lacks the trade gap": (
        "ledger_ids",
        lambda d: _without_ledger(d, "trade"),
        "trade_id jumps from 701 to 712 (10 ids",
    ),
    "ledger_ids: the ledger lacks the depth gap": (
        "ledger_ids",
        lambda d: _without_ledger(d, "depth"),
        "no live row in the 21 s before",
    ),
    "ledger_ids: a row of state gap that the ledger does not know": (
        "ledger_ids",
        lambda d: _lose(d, 300),
        "a row of state gap outside every depth gap",
    ),
    "ledger_ids: update ids go back": (
        "ledger_ids",
        lambda d: d.set("book", 9, last_update_id=5),
        "last_update_id 5 after 1056",
    ),
    "ledger_ids: a live row without an id": (
        "ledger_ids",
        lambda d: d.set("book", 9, last_update_id=None),
        "no last_update_id",
    ),
    "ledger_ids: a hole in the grid": (
        "ledger_ids",
        lambda d: d.drop_rows("book", *range(100, 130)),
        "no live row in the 31 s before",
    ),
    "ledger_ids: a gap that ends before it starts": (
        "ledger_ids",
        lambda d: d.set("gaps", 0, end=pl.Series([START_US]).cast(tables.TIMESTAMP)[0]),
        "a depth gap that ends 600 s before it starts",
    ),
    "ledger_ids: the wrong one is blamed for a gap": (
        "ledger_ids",
        lambda d: d.set("gaps", 0, fault="collector"),
        "a gap of cause venue blamed on the collector",
    ),
}


def test_sound_data_pass_every_check(validated: Validated) -> None:
    outcome = validated(made_up())
    assert [check for check in outcome.report["checks"] if check["count"] and check["severity"] == "hard"] == []
    assert outcome.code == 0
    assert outcome.report["passed"]
    assert outcome.named("SKIP") == {"null_shares"}  # thirty rows are too few


def test_every_hard_check_has_a_planted_defect() -> None:
    assert {check for check, _, _ in PLANTS.values()} == {check.name for check in CHECKS if check.severity == "hard"}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_defect_fails_its_check_and_is_named(name: str, found: Found) -> None:
    check, plant, words = PLANTS[name]
    data = made_up()
    plant(data)
    findings = found(data)
    assert check in findings.failed(strict=False)
    examples = [each.found for each in findings.examples[check]]
    assert any(words in each for each in examples), examples


def test_a_failed_hard_check_is_the_exit_code_and_in_both_reports(
    validated: Validated, capsys: pytest.CaptureFixture[str]
) -> None:
    data = made_up()
    data.set("book", 9, bid_px_01=9000.0)
    outcome = validated(data)
    assert outcome.code == 1
    assert not outcome.report["passed"]
    assert "crossed_book" in outcome.named("FAIL")
    assert outcome.check("crossed_book")["examples"][0]["ts"] == "2026-01-05 00:00:10"
    assert "best bid 9000" in outcome.html
    assert "FAIL crossed_book" in capsys.readouterr().out


def test_a_ledger_from_before_the_fault_and_foreign_files_pass(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    made_up().write(tmp_path)
    for path in storage.list_files("clean/gaps", ".parquet"):
        table = storage.read_parquet(path)
        storage.write_parquet(path, table.drop_columns(["fault"]))
        storage.write_bytes(path.replace("00.parquet", "mine.parquet"), b"no Parquet")
    quality = scan(Source(storage, VENUE, ()))[0]
    assert [name for name, count in quality.findings.counts.items() if count and CHECK[name].severity == "hard"] == []
    assert [gap.fault for gap in quality.ledger.gaps] == ["venue", "network"]


def test_ids_of_rows_that_are_no_prints_are_no_jump(found: Found) -> None:
    data = made_up()
    data.drop_rows("trades", 50)
    data.metadata["trades"]["no_print_ids"] = "[151]"
    assert found(data).counts["ledger_ids"] == 0


def test_a_trade_that_comes_late_is_no_jump(found: Found) -> None:
    """Trades 150 and 151 have the times of each other: ordered by ts, their ids are not."""
    data = made_up()
    trades = data.frames["trades"]
    at = pl.int_range(pl.len())
    ids = pl.when(at == 49).then(151).when(at == 50).then(150).otherwise(pl.col("trade_id"))
    data.frames["trades"] = trades.with_columns(ids.cast(pl.Int64).alias("trade_id"))
    findings = found(data)
    assert findings.counts["ledger_ids"] == 0
    assert findings.counts["ts_order"] == 0


def test_features_without_any_book_left_are_not_held_against_it(found: Found) -> None:
    data = made_up()
    del data.frames["book"]
    _value_in_gap(data, "spread")
    assert found(data).counts["number_in_gap"] == 0
