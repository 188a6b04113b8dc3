"""bookTicker into clean/book: level 1 on the grid, held against plain loops over the quotes."""

import gzip
import json
import math
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from midas_ray import tables
from midas_ray.cli import main
from tests.importers.vision.made_up import (
    DAY,
    hours,
    midnight_ms,
    quotes,
    reconstruct_all,
    run,
    table,
    tree,
    zip_file,
)

COARSE = ("--snapshot-interval-ms", "10000")
"""A hundred times fewer rows where whole days are written."""


def reference(
    rows: list[list[Any]], step_ms: int = 100
) -> dict[int, tuple[float, float, float, float, float, int, int]]:
    """By ts in ms: bid, bid size, ask, ask size, order flow, quotes and last id, by the textbook's words."""
    first, last = (row[5] // step_ms * step_ms + step_ms for row in (rows[0], rows[-1]))
    found = {}
    at = 0
    before: list[float] | None = None
    for ts in range(first, last + 1, step_ms):
        flow, count = 0.0, 0
        while at < len(rows) and rows[at][5] < ts:
            quote = [float(each) for each in rows[at][1:5]]
            if before is not None:
                if quote[0] >= before[0]:
                    flow += quote[1]
                if quote[0] <= before[0]:
                    flow -= before[1]
                if quote[2] <= before[2]:
                    flow -= quote[3]
                if quote[2] >= before[2]:
                    flow += before[3]
                count += 1
            before, last_id = quote, rows[at][0]
            at += 1
        assert before is not None
        found[ts] = (*before, flow, count, last_id)
    return found


def check_rows(book: pl.DataFrame, expected: dict[int, tuple[float, float, float, float, float, int, int]]) -> None:
    assert book["ts"].dt.epoch("ms").to_list() == list(expected)
    names = ["bid_px_01", "bid_sz_01", "ask_px_01", "ask_sz_01", "ofi_01", "n_updates", "last_update_id"]
    for at, (row, wanted) in enumerate(zip(book.select(names).rows(), expected.values(), strict=True)):
        assert row[:4] == wanted[:4]
        assert row[5:] == wanted[5:]
        if at:
            assert math.isclose(row[4], wanted[4], abs_tol=1e-9)


def test_level_one_on_the_grid_and_the_rest_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = quotes(3000, step_ms=37)
    rows[1000][5:] = [rows[999][5] - 30] * 2  # the clock of a chain never goes back
    assert run(tmp_path, zip_file(tmp_path, "bookTicker", rows)) == 0
    book = table(tmp_path, "book")
    assert dict(book.schema) == tables.book_schema()
    rows[1000][5] = rows[999][5]
    check_rows(book, reference(rows))
    assert book["ofi_01"][0] is None
    assert book["ofi_01"].null_count() == 1
    assert set(book["state"].to_list()) == {"live"}
    deep = [name for name in book.columns if name.endswith(("_02", "_10"))]
    assert len(deep) == 10
    assert book.select(deep).null_count().row(0) == (len(book),) * 10
    path = next((tmp_path / "data").glob("clean/book/*/*/*/*.parquet"))
    metadata = pl.read_parquet_metadata(path)
    assert {name: metadata[name] for name in ("px_decimals", "sz_decimals", "snapshot_interval_ms", "streams")} == {
        "px_decimals": "1", "sz_decimals": "3", "snapshot_interval_ms": "100", "streams": "bookTicker",
    }  # fmt: skip
    said = capsys.readouterr().out
    assert "longest time without a quote 0.1 s (quotes have no chain" in said
    assert "null in the features: levels 2 to 10 of the book; trades" in said


def test_rows_belong_to_the_hour_that_they_end_in(tmp_path: Path) -> None:
    rows = quotes(3, first_ms=3_600_000 - 150, step_ms=100)
    assert run(tmp_path, zip_file(tmp_path, "bookTicker", rows)) == 0
    assert hours(tmp_path, "book") == ["2024-10-18/00", "2024-10-18/01"]
    first, second = (
        pl.read_parquet(path, hive_partitioning=False)["ts"].to_list()
        for path in sorted((tmp_path / "data").glob("clean/book/*/*/*/*.parquet"))
    )
    assert first == [datetime(2024, 10, 18, 0, 59, 59, 900_000, UTC), datetime(2024, 10, 18, 1, tzinfo=UTC)]
    assert second == [datetime(2024, 10, 18, 1, 0, 0, 100_000, UTC)]


def three_days(folder: Path) -> tuple[list[str], list[list[Any]]]:
    """Quotes of three days that are quiet around midnight, the last day with more decimals."""
    paths, every = [], []
    for at, day in enumerate(date(2024, 10, 18 + at) for at in range(3)):
        rows = quotes(40, day=day, first_id=500 + 1000 * at, first_ms=5 * 3_600_000 + 30 * at, step_ms=900, seed=at + 1)
        rows[-1][5] = midnight_ms(day) + 22 * 3_600_000 + 55
        if at == 2:
            rows[0][2] = "0.00125"
        every += rows
        paths.append(zip_file(folder, "bookTicker", rows, day=day))
    return paths, every


@pytest.mark.parametrize("calls", [[[0], [1], [2]], [[2], [0], [1]], [[0, 2], [1]], [[1, 2], [0], [0, 1, 2]]])
def test_days_are_continued_over_midnight_in_any_order(tmp_path: Path, calls: list[list[int]]) -> None:
    paths, every = three_days(tmp_path)
    assert run(tmp_path / "a", *paths, *COARSE) == 0
    for call in calls:
        assert run(tmp_path / "b", *(paths[at] for at in call), *COARSE) == 0
    check_rows(table(tmp_path / "a", "book"), reference(every, 10_000))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert not hours(tmp_path / "b", "gaps")


def test_a_day_that_is_not_there_is_a_gap_and_a_replaced_one_is_taken_back(tmp_path: Path) -> None:
    paths, _ = three_days(tmp_path)
    run(tmp_path / "a", paths[0], paths[2], *COARSE)
    gaps = table(tmp_path / "a", "gaps")
    assert gaps.select("stream", "cause").rows() == [("depth", "down")]
    other = quotes(10, day=date(2024, 10, 19), first_id=1600, first_ms=11 * 3_600_000)
    run(tmp_path / "a", paths[1], *COARSE)
    replaced = zip_file(tmp_path / "other", "bookTicker", other, day=date(2024, 10, 19))
    run(tmp_path / "a", replaced, *COARSE)
    run(tmp_path / "b", paths[0], replaced, paths[2], *COARSE)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_another_grid_and_depth(tmp_path: Path) -> None:
    path = zip_file(tmp_path, "bookTicker", quotes(100))
    assert run(tmp_path, path, "--snapshot-interval-ms", "1000", "--order-book-depth", "20") == 0
    book = table(tmp_path, "book")
    assert "bid_px_20" in book.columns
    assert book["ts"][0] == datetime(DAY.year, DAY.month, DAY.day, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(("column", "text"), [(1, "0"), (1, "-5"), (4, "0"), (3, "nan"), (1, "99999999")])
def test_a_quote_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: int, text: str
) -> None:
    rows = quotes(5)
    rows[3][column] = text
    assert run(tmp_path, zip_file(tmp_path, "bookTicker", rows)) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not list((tmp_path / "data").rglob("*.parquet"))


@pytest.mark.real
def test_real_quotes_agree_with_the_book_that_depth_events_make(real_data: Path, tmp_path: Path) -> None:
    """The exchange's own best quotes beside its depth stream: level 1 is equal in every row but for those in which the
    depth stream, which sends several changes at once, is behind by its update id."""
    capture = real_data / "binance-futures-raw" / "btcusdt_20240808.gz"
    by_day: dict[date, list[list[Any]]] = {}
    with gzip.open(capture) as lines:
        for line in lines:
            if b"@bookTicker" in line:
                body = json.loads(line.split(b" ", 1)[1])["data"]
                row = [body[name] for name in ("u", "b", "B", "a", "A", "T", "E")]
                by_day.setdefault(datetime.fromtimestamp(body["T"] / 1000, UTC).date(), []).append(row)
    paths = [zip_file(tmp_path, "bookTicker", rows, day=day) for day, rows in by_day.items()]
    assert run(tmp_path, *paths) == 0
    assert main(["import", "lines", str(capture), "--data-dir", str(tmp_path / "own" / "data")]) == 0
    reconstruct_all(tmp_path / "own" / "data")
    ours = table(tmp_path / "own", "book").filter(pl.col("state") == "live")
    level = ["bid_px_01", "bid_sz_01", "ask_px_01", "ask_sz_01"]
    both = table(tmp_path, "book").join(ours, on="ts", suffix="_depth", validate="1:1")
    assert len(both) == 3443
    both = both.filter(pl.col("last_update_id_depth") >= pl.col("last_update_id"))
    both = both.drop_nulls([f"{name}_depth" for name in level])  # beyond the one snapshot's depth
    assert len(both) > 1000
    for name in level:
        assert both[name].to_list() == both[f"{name}_depth"].to_list()
