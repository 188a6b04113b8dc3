"""Damaged, copied, foreign and misnamed raw files: what is right is used, all else is named and in the ledger."""

import itertools
import shutil
from pathlib import Path

import polars as pl
import pytest
import zstandard

from midas_ray.capture.journal import event_line
from midas_ray.capture.journal_file import JournalFile
from midas_ray.capture.recorder import Recorder
from midas_ray.reconstruct.plan import HOUR_MS, HourTask, hour_keys, plan_tasks, raw_files, read_manifest, up_to_date
from midas_ray.reconstruct.run import known_damage
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.spread import Result
from midas_ray.storage import Storage
from midas_ray.venues.base import StreamKind
from tests.reconstruct.market import START_MS, Market
from tests.reconstruct.test_reconstruct import (
    SYMBOL,
    VENUE,
    check_against_truth,
    ms,
    settings,
    table,
    three_hours,
)

TABLES = ("book", "trades", "gaps")


def run(root: Path, pack_bytes: int = 2**40) -> list[Result]:
    """Reconstruct what is not up to date, without Ray."""
    storage = Storage(str(root))
    return [reconstruct_hours(str(root), task, settings()) for task in todo(storage, pack_bytes)]


def todo(storage: Storage, pack_bytes: int = 2**40) -> list[HourTask]:
    files = raw_files(storage, VENUE, SYMBOL)
    keys = hour_keys(files, settings())
    done = up_to_date(files, keys, read_manifest(storage, VENUE, SYMBOL))
    return plan_tasks(VENUE, SYMBOL, files, keys, done, pack_bytes)


def named(results: list[Result]) -> list[str]:
    return [line for result in results for line in result["damaged"]]


def sealed(root: Path) -> list[Path]:
    return sorted(root.rglob("*.jsonl.zst"))


def flip(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 0x55
    path.write_bytes(data)


def check_nothing_is_wrong(market: Market, root: Path) -> None:
    """Every row and print is true; prints that are not there lie in a gap of cause disk."""
    assert check_against_truth(market, table(root, "book")) > 1000
    trades, gaps = table(root, "trades"), table(root, "gaps")
    assert set(gaps["cause"]) == {"disk"}
    true = {number: (at, px / 10, qty / 1000, "sell" if sold else "buy") for at, number, px, qty, sold in market.prints}
    found = dict(
        zip(
            trades["trade_id"],
            zip(ms(trades["ts"]), trades["px"], trades["qty"], trades["side"], strict=True),
            strict=True,
        )
    )
    assert found.items() <= true.items()
    lost = true.keys() - found.keys()
    assert lost
    holes = gaps.filter(pl.col("stream") == "trade")
    spans = list(zip(ms(holes["start"]), ms(holes["end"]), strict=True))
    assert all(any(start < true[number][0] <= end for start, end in spans) for number in lost)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_what_a_flipped_bit_does_not_touch_is_used(tmp_path: Path, share: float) -> None:
    market = three_hours(tmp_path)
    flip(sealed(tmp_path)[1], share)
    (line,) = named(run(tmp_path))
    assert sealed(tmp_path)[1].name in line
    assert "damaged" in line
    check_nothing_is_wrong(market, tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_damage_looks_the_same_in_any_packing(tmp_path: Path, share: float) -> None:
    three_hours(tmp_path)
    flip(sealed(tmp_path)[1], share)
    run(tmp_path)
    whole = {name: table(tmp_path, name) for name in TABLES}
    shutil.rmtree(tmp_path / "clean")
    assert set(named(run(tmp_path, pack_bytes=1)))
    for name in TABLES:
        assert table(tmp_path, name).equals(whole[name]), name


def test_a_file_cut_off_in_the_middle_is_used_up_to_there(tmp_path: Path) -> None:
    market = three_hours(tmp_path)
    path = sealed(tmp_path)[1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    (line,) = named(run(tmp_path))
    assert path.name in line
    assert "truncated" in line
    check_nothing_is_wrong(market, tmp_path)


def test_an_empty_file_is_named_and_the_others_are_used(tmp_path: Path) -> None:
    market = three_hours(tmp_path)
    sealed(tmp_path)[1].write_bytes(b"")
    (line,) = named(run(tmp_path))
    assert "empty" in line
    check_nothing_is_wrong(market, tmp_path)


def test_damage_in_a_growing_file_is_no_unfinished_end(tmp_path: Path) -> None:
    market = Market(tmp_path, seed=9)
    market.open()
    market.snapshot()
    market.run(200, most_ms=2000)
    market.recorder.flush()
    path = next(tmp_path.rglob("*.open"))
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff" * 4  # the frame's header: what follows can be no Zstandard
    path.write_bytes(data)
    (line,) = named(run(tmp_path))
    assert "damaged Zstandard data" in line


def test_damage_is_remembered_until_the_file_is_mended(tmp_path: Path) -> None:
    market = three_hours(tmp_path)
    path = sealed(tmp_path)[1]
    good = path.read_bytes()
    flip(path, 0.5)
    run(tmp_path)
    storage = Storage(str(tmp_path))
    assert not todo(storage)
    files = raw_files(storage, VENUE, SYMBOL)
    (line,) = known_damage(files, list(read_manifest(storage, VENUE, SYMBOL).values()))
    assert path.name in line
    path.write_bytes(good)  # of the same size
    assert not named(run(tmp_path))
    assert check_against_truth(market, table(tmp_path, "book")) > 9_000
    assert len(table(tmp_path, "trades")) == len(market.prints)
    files = raw_files(storage, VENUE, SYMBOL)
    assert not known_damage(files, list(read_manifest(storage, VENUE, SYMBOL).values()))


@pytest.mark.parametrize("pack_bytes", [1, 2**40])
def test_a_copy_of_a_file_doubles_nothing(tmp_path: Path, pack_bytes: int) -> None:
    market = three_hours(tmp_path)
    for path in sealed(tmp_path):
        shutil.copy(path, path.with_name(path.name.replace("-", "-9", 1)))
    cut = sealed(tmp_path)[-1]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])  # a copy that was not finished
    results = run(tmp_path, pack_bytes)
    assert any("taken once" in line for result in results for line in result["copies"])
    assert check_against_truth(market, table(tmp_path, "book")) > 9_000
    assert table(tmp_path, "trades")["trade_id"].to_list() == [number for _, number, *_ in market.prints]
    assert not list((tmp_path / "clean").glob("gaps/**/*.parquet"))


@pytest.mark.parametrize("pack_bytes", [1, 2**40])
def test_two_files_that_begin_alike_are_both_used(tmp_path: Path, pack_bytes: int) -> None:
    """Such as the depth and the trades of one archive, imported one after the other."""
    market = three_hours(tmp_path)
    first = sealed(tmp_path)[0]
    lines = (
        zstandard.ZstdDecompressor().stream_reader(first.read_bytes(), read_across_frames=True).read().splitlines(True)
    )
    trades = [line for line in lines if b'"e":"trade"' in line]
    stamp = int(first.name.split("-")[0])
    for name, part in (
        (first.name, [line for line in lines if line not in trades]),
        (f"{stamp}-999.jsonl.zst", trades),
    ):
        text = b"".join([lines[0], *part[part[0] == lines[0] :]])
        first.with_name(name).write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(text))
    results = run(tmp_path, pack_bytes)
    assert not any(result["copies"] or result["damaged"] for result in results)
    assert check_against_truth(market, table(tmp_path, "book")) > 9_000
    assert table(tmp_path, "trades")["trade_id"].to_list() == [number for _, number, *_ in market.prints]


class Collector(Market):
    """A market recorded by a live collector."""

    def _new_recorder(self) -> Recorder:
        numbers = itertools.count(1)
        streams: list[StreamKind] = ["depth", "trade"]
        return Recorder(
            self.venue, self.symbol, self.root, next_n=lambda: next(numbers), streams=streams, connections=2
        )

    def full_file(self) -> None:
        """The next frame begins a file."""
        self.recorder._journal._max_bytes = 0
        self.depth(10)
        self.recorder._journal._max_bytes = 2**40


@pytest.mark.parametrize("back_ms", [500, 59_000, 600_000])
@pytest.mark.parametrize("how", ["rotated", "restarted", "restarted behind the hour"])
def test_a_local_clock_that_steps_back_costs_nothing(tmp_path: Path, back_ms: int, how: str) -> None:
    """Right after a file began: the next one is named after it, though received earlier by the clock."""
    market = Collector(tmp_path, seed=1)
    market.open()
    market.depth(50)
    market.snapshot()
    market.run(40, most_ms=2000)
    if how.endswith("hour"):
        market.depth(HOUR_MS - market.now_ms % HOUR_MS + 100)
    else:
        market.full_file()
    market.run(3, most_ms=300)
    market.latency_ms -= back_ms
    if how == "rotated":
        market.full_file()
    else:
        market.restart(200)
        market.depth(10)
        market.snapshot()
    market.run(40, most_ms=2000)
    market.close()
    assert not named(run(tmp_path))
    book, gaps = table(tmp_path, "book"), list((tmp_path / "clean").glob("gaps/**/*.parquet"))
    assert check_against_truth(market, book) == len(book) > 80
    assert len(gaps) == (0 if how == "rotated" else 1), "a restart alone is a gap"
    assert len(table(tmp_path, "trades")) == len(market.prints)


def test_a_file_under_a_wrong_name_is_left_out_and_named(tmp_path: Path) -> None:
    three_hours(tmp_path)
    path = sealed(tmp_path)[-1]
    path.rename(path.with_name(f"{(START_MS + 60_000) * 10**6}-1.jsonl.zst"))
    (line,) = named(run(tmp_path))
    assert "rename the file" in line


def test_frames_of_another_symbol_are_left_out_and_named(tmp_path: Path) -> None:
    market = Market(tmp_path)
    market.open()
    market.snapshot()
    market.run(100, most_ms=2000)
    market.symbol = "ethusdt"
    market.trade()
    market.prints.pop()
    market.symbol = SYMBOL
    market.trade_id -= 1
    market.run(100, most_ms=2000)
    market.close()
    (line,) = [line for result in run(tmp_path) for line in result["foreign"]]
    assert "found 1 of ethusdt" in line
    assert check_against_truth(market, table(tmp_path, "book")) > 100
    assert len(table(tmp_path, "trades")) == len(market.prints)


def test_damaged_head_line_is_one_line(tmp_path: Path) -> None:
    file = JournalFile(tmp_path, VENUE, SYMBOL, START_MS * 10**6)
    line = event_line(START_MS * 10**6, None, "collector", 0, "unsynced", last_trade_id="x")
    file.write(line, START_MS * 10**6)
    file.close()
    (line_of_damage,) = named(run(tmp_path))
    assert "damaged head line" in line_of_damage


def test_files_that_were_only_touched_are_not_read_again(tmp_path: Path) -> None:
    three_hours(tmp_path)
    run(tmp_path)
    storage = Storage(str(tmp_path))
    clean = storage.list_files("clean", ".parquet")
    before = storage.stamps(clean)
    for path in sealed(tmp_path):
        path.write_bytes(path.read_bytes())
    assert [result["unchanged"] for result in run(tmp_path)] == [
        len(hour_keys(raw_files(storage, VENUE, SYMBOL), settings()))
    ]
    assert storage.stamps(clean) == before
    assert not todo(storage)


def test_another_content_of_the_same_size_is_noticed(tmp_path: Path) -> None:
    three_hours(tmp_path)
    run(tmp_path)
    flip(sealed(tmp_path)[1], 0.5)
    assert named(run(tmp_path))


def test_raw_files_that_have_gone_change_nothing(tmp_path: Path) -> None:
    three_hours(tmp_path)
    run(tmp_path)
    whole = {name: table(tmp_path, name) for name in ("book", "trades")}
    for path in sealed(tmp_path)[:2]:
        path.unlink()
    assert not todo(Storage(str(tmp_path)))
    for name, frame in whole.items():
        assert table(tmp_path, name).equals(frame)


def test_outputs_that_stay_the_same_are_not_written_again(tmp_path: Path) -> None:
    """The last hour grows: of the one before, which is computed anew, nothing is touched."""
    market = three_hours(tmp_path)
    run(tmp_path)
    storage = Storage(str(tmp_path))
    clean = storage.list_files("clean/book", ".parquet")
    before = dict(zip(clean, storage.stamps(clean), strict=True))
    market.restart(1000)
    market.snapshot()
    market.run(5, most_ms=500)
    market.close()
    (task,) = todo(storage)
    assert task.first_hour < raw_files(storage, VENUE, SYMBOL)[-1].hour
    run(tmp_path)
    after = dict(zip(clean, storage.stamps(clean), strict=True))
    assert [path for path in clean if after[path] != before[path]] == clean[-1:]
