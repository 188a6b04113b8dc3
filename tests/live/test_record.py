"""The record of publications: a torn line is cut off, revisions go on, one process at a time, the last one counts."""

from pathlib import Path

import numpy as np
import pytest

import midas_ray
from midas_ray.cli import run_command
from midas_ray.errors import DataError, UsageError
from midas_ray.features.registry import FEATURES
from midas_ray.live.publication import Publication, from_line, to_line
from midas_ray.live.record import Record, claimed
from midas_ray.storage import Storage

BUCKET_US, START_US = 60_000_000, 1_767_225_600 * 10**6


def publication(minute: int, value: float, revision: int = 1) -> Publication:
    """A bucket whose features are all `value`, but for the second one, which is undefined."""
    kinds = np.zeros(len(FEATURES), np.uint8)
    kinds[1] = 3
    return Publication(
        ts_us=START_US + minute * BUCKET_US, symbol="btcusdt", revision=revision, closed_by="streams", closed_ns=5,
        published_ns=7, values=np.where(kinds == 0, value, np.nan), kinds=kinds, coverage=0.9, trades_coverage=1.0,
    )  # fmt: skip


def record(root: Path, bucket_us: int = BUCKET_US) -> Record:
    return Record(Storage(str(root)), "binance-futures", "btcusdt", bucket_us, START_US)


@pytest.mark.parametrize("value", [0.1 + 0.2, -0.0, 1e-300, 123456789.123456789])
def test_a_line_keeps_every_bit(value: float) -> None:
    before = publication(1, value)
    after = from_line(to_line(before))
    assert after.digest == before.digest
    assert after.values.tobytes() == before.values.tobytes()
    assert (after.revision, after.closed_by, after.latency_s) == (1, "streams", 2e-9)


def test_revisions_go_on_after_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    first = record(tmp_path)
    assert first.next_revision(publication(1, 1.0)) == 1
    first.append([publication(1, 1.0), publication(2, 2.0), publication(1, 1.5, revision=2)])
    first.close()
    path = next(tmp_path.rglob("*.jsonl"))
    assert path.name == "00-60000ms.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + to_line(publication(3, 3.0))[:-9])
    rows = midas_ray.open(str(tmp_path)).live_features("btcusdt").collect()  # while the torn line is there
    assert rows["open"].to_list() == [1.5, 2.0]
    assert rows["high"].null_count() == 2
    again = record(tmp_path)
    assert path.read_bytes() == whole
    assert again.first_us == START_US + BUCKET_US
    assert again.next_revision(publication(1, 1.5)) is None
    assert again.next_revision(publication(1, 1.0)) == 3
    assert again.next_revision(publication(3, 3.0)) == 1


def test_lengths_of_bucket_lie_side_by_side(tmp_path: Path) -> None:
    for bucket_us, value in ((BUCKET_US, 1.0), (10_000_000, 2.0)):
        record(tmp_path, bucket_us).append([publication(1, value)])
    archive = midas_ray.open(str(tmp_path))
    with pytest.raises(UsageError, match="10000 and 60000 ms"):
        archive.live_features("btcusdt")
    assert archive.live_features("btcusdt", time_bucket_ms=10_000).collect()["open"].to_list() == [2.0]


def test_what_is_no_line_is_said(tmp_path: Path) -> None:
    record(tmp_path).append([publication(1, 1.0)])
    next(tmp_path.rglob("*.jsonl")).write_bytes(b'{"ts":1}\n')
    with pytest.raises(DataError, match="move the file away"):
        record(tmp_path)


def test_one_process_publishes_a_symbol(tmp_path: Path) -> None:
    with claimed(tmp_path, "v", ["a", "b"]):
        with pytest.raises(UsageError, match="b: another midas features --live"), claimed(tmp_path, "v", ["c", "b"]):
            pass
        with claimed(tmp_path, "v", ["c"]):
            pass


def test_flags_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="with --live only"):
        run_command("features", ["--data-dir", str(tmp_path), "--duration", "5s"])
    with pytest.raises(UsageError, match="a grid that divides the bucket"):
        run_command(
            "features",
            ["--data-dir", str(tmp_path), "--live", "--time-bucket-ms", "1000", "--snapshot-interval-ms", "60000"],
        )
