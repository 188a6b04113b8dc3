"""`midas stats`: counts, shares of calendar time, gaps and verdicts by hand."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from midas_ray import tables
from midas_ray.cli import main
from midas_ray.stats_read import collect_stats
from midas_ray.storage import Partition, Storage

VENUE = "binance-futures"
DAY = date(2026, 1, 5)
START = datetime(2026, 1, 5, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _write(storage: Storage, table: str, name: str, frame: pl.DataFrame, symbol: str = "btcusdt") -> None:
    metadata = {"snapshot_interval_ms": "100", "streams": "depth,trade"} if table == "clean/book" else None
    storage.write_parquet(f"{Partition(table, VENUE, symbol, DAY).path}/{name}", frame.to_arrow(), metadata)


def _book(first: datetime, states: list[str]) -> pl.DataFrame:
    schema = {"ts": tables.TIMESTAMP, "state": pl.Enum(tables.BOOK_STATES)}
    ts = [first + timedelta(milliseconds=100 * (n + 1)) for n in range(len(states))]
    return pl.DataFrame({"ts": ts, "state": states}, schema=schema)


def _gap(
    start: datetime, end: datetime, cause: str, stream: str = "depth", *, recovered: bool = True
) -> dict[str, object]:
    gap = {"symbol": "btcusdt", "stream": stream, "start": start, "end": end, "cause": cause}
    return gap | {"fault": tables.FAULT_OF[cause], "recovered": recovered}


def _ledger(*gaps: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(gaps), schema={name: dtype for name, dtype in tables.GAPS.items() if name in gaps[0]})


def _prints(*moments: datetime) -> pl.DataFrame:
    return pl.DataFrame({"ts": moments}, {"ts": tables.TIMESTAMP})


def _raw(storage: Storage, start: datetime, *, seal: bool = True, n_bytes: int = 1000) -> str:
    name = f"{int(start.timestamp()) * 10**9}-1.jsonl.zst{'' if seal else '.open'}"
    path = f"{Partition('raw', VENUE, 'btcusdt', start.date()).path}/{name}"
    storage.write_bytes(path, b"x" * n_bytes)
    return path


def _manifest(storage: Storage, start: datetime, raw: dict[str, int], doubts: tuple[str, ...] = ()) -> None:
    entry = {"hour": int(start.timestamp()) // 3600, "key": "", "outputs": [], "raw": raw, "cannot_verify": doubts}
    path = f"{Partition('clean/manifest', VENUE, 'btcusdt', start.date()).path}/{start:%H}.json"
    storage.write_bytes(path, json.dumps(entry).encode())


def _whole(root: Path) -> Storage:
    """Two seconds without a fault, and what they were made from."""
    storage = Storage(str(root))
    _write(storage, "clean/book", "10.parquet", _book(START, ["syncing", *["live"] * 20]))
    _write(storage, "clean/trades", "10.parquet", _prints(START, START + timedelta(seconds=1)))
    _manifest(storage, START, {_raw(storage, START): 1000})
    return storage


def _figures(storage: Storage, day: date = DAY) -> tuple[float | None, float | None, str]:
    found = collect_stats(storage, VENUE)["btcusdt", day].completeness
    return found.depth, found.trades, found.verdict


def test_a_day_without_a_fault_is_complete_from_its_first_live_row(tmp_path: Path) -> None:
    storage = _whole(tmp_path)
    assert _figures(storage) == (1.0, 1.0, "complete")
    day = collect_stats(storage, VENUE)["btcusdt", DAY]
    assert day.completeness.window_us == 2_000_000
    assert (day.raw_files, day.growing_files, day.raw_bytes) == (1, 0, 1000)
    assert (day.rows["book"], day.rows["trades"]) == (21, 2)
    assert day.span == (START, START + timedelta(milliseconds=2100))


def test_time_without_a_collector_counts(tmp_path: Path) -> None:
    """10 s live, 30 s down, 40 s live, 1 s of it without the trades."""
    storage = Storage(str(tmp_path))
    _write(storage, "clean/book", "10.parquet", _book(START, ["live"] * 100))
    _write(storage, "clean/book", "11.parquet", _book(START + timedelta(seconds=40), ["live"] * 400))
    at = [START + timedelta(seconds=each) for each in (10, 40, 50, 51)]
    ledger = _ledger(_gap(at[0], at[1], "down"), _gap(at[2], at[3], "both-missed", "trade"))
    _write(storage, "clean/gaps", "10.parquet", ledger)
    _write(storage, "clean/trades", "10.parquet", _prints(START))
    assert _figures(storage) == (50 / 80, 1 - 1 / 80, "gaps")
    found = collect_stats(storage, VENUE)["btcusdt", DAY].completeness
    assert (found.by_cause, found.by_fault) == ({"both-missed": 1, "down": 1}, {"collector": 1, "network": 1})
    assert found.longest_gap_s == 30


def test_a_gap_over_two_midnights_counts_on_each_day_and_the_empty_one_is_shown(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    last, first = datetime(2026, 1, 5, 23, tzinfo=UTC), datetime(2026, 1, 7, 1, tzinfo=UTC)
    for start in (last, first - timedelta(seconds=10)):
        path = f"{Partition('clean/book', VENUE, 'btcusdt', start.date()).path}/{start:%H}.parquet"
        storage.write_parquet(path, _book(start, ["live"] * 100).to_arrow(), {"snapshot_interval_ms": "100"})
    gap = _ledger(_gap(last + timedelta(seconds=10), first - timedelta(seconds=10), "down"))
    storage.write_parquet(f"{Partition('clean/gaps', VENUE, 'btcusdt', first.date()).path}/00.parquet", gap.to_arrow())
    found = {day: each.completeness for (_, day), each in collect_stats(storage, VENUE).items()}
    assert [(each.depth, each.gaps, each.longest_gap_s) for each in found.values()] == [
        (10 / 3600, 1, 3590),
        (0.0, 1, 86400),
        (10 / 3600, 1, 3590),
    ]
    assert {each.verdict for each in found.values()} == {"gaps"}


def _doubts(storage: Storage) -> list[str]:
    found = collect_stats(storage, VENUE)["btcusdt", DAY].completeness
    assert (found.verdict == "cannot be verified") == bool(found.doubts)
    return found.doubts


def test_what_cannot_be_verified_is_never_complete(tmp_path: Path) -> None:
    assert _doubts(_whole(tmp_path / "whole")) == []

    storage = _whole(tmp_path / "tail")
    tail = _gap(START + timedelta(seconds=1), START + timedelta(seconds=2), "network", "trade", recovered=False)
    _write(storage, "clean/gaps", "10.parquet", _ledger(tail))
    assert _doubts(storage) == ["no trade proves that the ids are whole to the end of the data"]

    storage = Storage(str(tmp_path / "raw only"))
    _raw(storage, START)
    assert _doubts(storage) == ["not reconstructed"]

    storage = _whole(tmp_path / "more raw")
    _raw(storage, START + HOUR)
    assert _doubts(storage) == ["1 of 2 hours not reconstructed"]
    _manifest(storage, START, {_raw(storage, START, n_bytes=2000): 1000})
    assert _doubts(storage) == ["not reconstructed"]

    storage = _whole(tmp_path / "headless")
    _manifest(storage, START, {_raw(storage, START): 1000}, ("raw without a head line",))
    assert _doubts(storage) == ["raw without a head line"]

    storage = Storage(str(tmp_path / "bars"))
    _write(storage, "clean/bars", "10.parquet", _prints(START))
    assert _doubts(storage) == ["bars only: no ids"]

    storage = Storage(str(tmp_path / "never live"))
    _write(storage, "clean/book", "10.parquet", _book(START, ["syncing"] * 9))
    assert _doubts(storage) == ["the book was never live", "no print: no trade ids"]


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    storage = _whole(tmp_path)
    for name in ("notes.parquet", "10-copy.parquet", "24.parquet", "readme.txt"):
        storage.write_bytes(f"{Partition('clean/book', VENUE, 'btcusdt', DAY).path}/{name}", b"not Parquet at all")
    storage.write_bytes(f"{Partition('raw', VENUE, 'btcusdt', DAY).path}/notes.jsonl.zst", b"x")
    assert _figures(storage) == (1.0, 1.0, "complete")


def test_a_ledger_from_before_the_fault_is_read(tmp_path: Path) -> None:
    storage = _whole(tmp_path)
    old = _ledger(_gap(START, START + timedelta(seconds=1), "disk")).drop("fault")
    _write(storage, "clean/gaps", "10.parquet", old)
    assert collect_stats(storage, VENUE)["btcusdt", DAY].completeness.by_fault == {"collector": 1}


def test_the_table_fits_120_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = _whole(tmp_path)
    _raw(storage, START + timedelta(minutes=1), seal=False, n_bytes=500)
    _write(storage, "features", "features.parquet", _prints(START), "ethusdt")
    assert main(["stats", "--data-dir", str(tmp_path), "--symbols", "btcusdt"]) == 0
    out = capsys.readouterr().out
    sizes, shares = (line for line in out.splitlines() if line.startswith("btcusdt") and "cannot" not in line[:40])
    assert sizes.split()[:7] == ["btcusdt", "2026-01-05", "2", "(1", "open)", "1.5", "kB"]
    assert "10:00:00 - 10:00:02" in sizes
    assert shares.split()[:6] == ["btcusdt", "2026-01-05", "100.00", "%", "100.00", "%"]
    assert shares.rstrip().endswith("cannot be verified"), "the growing file was not reconstructed"
    assert "btcusdt 2026-01-05 cannot be verified: not reconstructed; run midas reconstruct" in out
    assert max(map(len, out.splitlines())) <= 120
    assert "1 symbol-days, 1.5 kB raw" in out


def test_a_part_of_a_day_is_extrapolated(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    _raw(storage, START, n_bytes=1000)
    _raw(storage, START + HOUR, n_bytes=5000)
    day = collect_stats(storage, VENUE)["btcusdt", DAY]
    assert day.collected_s == 7200, "to the end of its hour where a file was changed later"
    assert day.bytes_per_day == 6000 * 12
    assert day.is_extrapolated


def test_json_is_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _whole(tmp_path)
    assert main(["stats", "--data-dir", str(tmp_path), "--json"]) == 0
    (day,) = json.loads(capsys.readouterr().out)
    assert (day["symbol"], day["date"], day["verdict"], day["depth_share"]) == ("btcusdt", "2026-01-05", "complete", 1)


def test_nothing_there_and_a_damaged_file_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--data-dir", str(tmp_path)]) == 1
    assert "expected data of any symbol of binance-futures, found none" in capsys.readouterr().err
    storage = _whole(tmp_path)
    storage.write_bytes(f"{Partition('clean/book', VENUE, 'btcusdt', DAY).path}/12.parquet", b"PAR1 nonsense")
    assert main(["stats", "--data-dir", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "12.parquet: not a readable Parquet file" in err
    assert len(err.splitlines()) == 1
