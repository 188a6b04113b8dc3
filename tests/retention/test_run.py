"""`midas clean-data`: only partitions of MIDAS go, and only after a yes. What is needed is in `test_needs`."""

import io
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from midas_ray import object_store
from midas_ray.cli import main
from midas_ray.retention.run import clean_data
from midas_ray.settings import CleanData
from midas_ray.storage import Partition, Storage
from tests.s3_server import Bucket

VENUE = "binance-futures"
OLD, NEW = date(2026, 1, 1), date(2026, 1, 9)
RELEASED = ("--delete-unfinished",)
FLAGS = {"delete_unfinished": True}
NOW = datetime(2026, 1, 9, 12, tzinfo=UTC)
OTHERS = ["raw/notes.txt", "raw/venue=binance-futures/symbol=btcusdt/.collector.lock", "models/m/notes.txt"]


def _filled(root: Path) -> None:
    _fill(Storage(str(root)))


def _fill(storage: Storage) -> None:
    for day in (OLD, NEW):
        for table in ("raw", "clean/book", "clean/manifest", "features"):
            for symbol in ("btcusdt", "ethusdt"):
                storage.write_bytes(f"{Partition(table, VENUE, symbol, day).path}/1-1.jsonl.zst", b"x")
    storage.write_bytes(f"{Partition('raw', 'binance-spot', 'btcusdt', OLD).path}/1-1.jsonl.zst", b"x")
    storage.write_bytes(f"{Partition('raw', VENUE, 'btcusdt', NEW).path}/2-1.jsonl.zst.open", b"x")
    storage.write_bytes(f"{Partition('raw', VENUE, 'btcusdt', NEW).path}/2-1.jsonl.zst.open.tail", b"x")
    for other in OTHERS:
        storage.write_bytes(other, b"keep")


def test_on_an_object_store_the_same_goes(bucket: Bucket, tmp_path: Path) -> None:
    object_store.open_s3.cache_clear()
    _fill(Storage(bucket.url("data")))
    before = set(bucket.sizes())
    settings = CleanData(data_dir=bucket.url("data"), older_than="7d", assume_yes=True, **FLAGS)
    assert clean_data(settings, NOW) == 0
    assert before - set(bucket.sizes()) == {name for name in before if f"date={OLD}" in name and VENUE in name}


def _files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_old_days_of_the_chosen_symbols_go(tmp_path: Path) -> None:
    _filled(tmp_path)
    before = _files(tmp_path)
    settings = CleanData(data_dir=str(tmp_path), symbols=("btcusdt",), older_than="7d", assume_yes=True, **FLAGS)
    assert clean_data(settings, NOW) == 0
    gone = before - _files(tmp_path)
    assert gone == {name for name in before if "symbol=btcusdt" in name and f"date={OLD}" in name and VENUE in name}
    assert len(gone) == 4
    assert not (tmp_path / Partition("raw", VENUE, "btcusdt", OLD).path).exists()


def test_a_day_that_ended_just_now_stays(tmp_path: Path) -> None:
    _filled(tmp_path)
    before = _files(tmp_path)
    settings = CleanData(data_dir=str(tmp_path), older_than="7d", assume_yes=True, **FLAGS)
    assert clean_data(settings, datetime(2026, 1, 8, 23, 59, tzinfo=UTC)) == 0
    assert _files(tmp_path) == before
    assert clean_data(settings, datetime(2026, 1, 9, 0, 0, tzinfo=UTC)) == 0
    assert len(_files(tmp_path)) == len(before) - 8


def test_everything_means_partitions_only_and_no_day_that_a_collector_writes_to(tmp_path: Path) -> None:
    _filled(tmp_path)
    assert main(["clean-data", "--data-dir", str(tmp_path), "--assume-yes", *RELEASED]) == 0
    left = _files(tmp_path)
    assert left == {
        *OTHERS,
        f"{Partition('raw', 'binance-spot', 'btcusdt', OLD).path}/1-1.jsonl.zst",
        f"{Partition('raw', VENUE, 'btcusdt', NEW).path}/1-1.jsonl.zst",
        f"{Partition('raw', VENUE, 'btcusdt', NEW).path}/2-1.jsonl.zst.open",
        f"{Partition('raw', VENUE, 'btcusdt', NEW).path}/2-1.jsonl.zst.open.tail",
    }


def test_a_dry_run_deletes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _filled(tmp_path)
    before = _files(tmp_path)
    assert main(["clean-data", "--data-dir", str(tmp_path), "--dry-run", *RELEASED]) == 0
    assert "would delete 15 files (15 B) of 11 symbol-days" in capsys.readouterr().out
    assert _files(tmp_path) == before


def test_without_a_terminal_nobody_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _filled(tmp_path)
    before = _files(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert main(["clean-data", "--data-dir", str(tmp_path), *RELEASED]) == 2
    assert "add --assume-yes" in capsys.readouterr().err
    assert _files(tmp_path) == before


@pytest.mark.parametrize(("answer", "code", "deleted"), [("y", 0, 15), ("", 1, 0), ("no", 1, 0)])
def test_on_a_terminal_the_answer_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, deleted: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    _filled(tmp_path)
    before = _files(tmp_path)
    monkeypatch.setattr(sys, "stdin", Terminal(answer + "\n"))
    assert main(["clean-data", "--data-dir", str(tmp_path), *RELEASED]) == code
    assert len(before) - len(_files(tmp_path)) == deleted


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--max-size", "5xB"], "expected a size such as 500MB"),
        (["--max-size", "0"], "--max-size: input should be greater than 0"),
        (["--older-than", "soon"], "expected a duration"),
        (["--tables", "raw,cleen"], "expected some of raw, clean, features, feature_stats, live_features"),
    ],
)
def test_bad_limits_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    assert main(["clean-data", "--data-dir", str(tmp_path), *flags]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "size"), [("50GB", 50e9), ("500 mb", 5e8), ("1.5TB", 1.5e12), ("20kB", 2e4), ("7", 7.0), ("7B", 7.0)]
)
def test_sizes_are_decimal(text: str, size: float) -> None:
    assert CleanData(max_size=text).max_size == size  # type: ignore[arg-type]
