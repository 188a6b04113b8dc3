"""Hours of a real spot market over midnight, replayed as if they came now: the same rows as batch."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import midas_ray
from midas_ray.capture.journal import read_blocks
from midas_ray.live.session import SymbolSession
from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.replay import first_recv_ns
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings, Features
from midas_ray.storage import Storage
from tests.features.serial import SerialSpread

VENUE, SYMBOL = "binance-spot", "nexousdt"
PORTION_NS = 5 * 10**9
FIRST_HOUR, HOURS = 6, 5
"""The capture begins at 15:39 UTC: these are from 21:00 to 02:00."""


class Portions:
    """The lines of sealed journals in portions of 5 s of receive time, in the place of a follower."""

    path = None

    def __init__(self) -> None:
        self.next: list[bytes] = []

    def poll(self) -> Iterator[bytes]:
        blocks, self.next = self.next, []
        yield from blocks

    def close(self) -> None: ...


def portions(files: list[Path]) -> Iterator[tuple[int, bytes]]:
    """(receive time of the last line, lines)."""
    held, end_ns = list[bytes](), 0
    for path in files:
        with path.open("rb") as stream:
            for line in io.BytesIO(b"".join(read_blocks(stream, str(path)))):
                recv_ns = first_recv_ns(line)
                if held and recv_ns > end_ns:
                    yield end_ns, b"".join(held)
                    held.clear()
                end_ns = recv_ns // PORTION_NS * PORTION_NS + PORTION_NS
                held.append(line)
    yield end_ns, b"".join(held)


def batch_rows(root: Path) -> pl.DataFrame:
    from midas_ray.features.pipeline import compute
    from midas_ray.features.plan import plan_symbol, settings_of, symbol_files

    storage = Storage(str(root))
    files = raw_files(storage, VENUE, SYMBOL)
    for task in plan_tasks(VENUE, SYMBOL, files, hour_keys(files, BookSettings()), {}):
        reconstruct_hours(str(root), task, BookSettings())
    settings = settings_of(Features(data_dir=str(root)), "midprice")
    compute(storage, [plan_symbol(storage, symbol_files(storage, VENUE, SYMBOL), settings)], SerialSpread(storage))
    return midas_ray.open(str(root)).features(SYMBOL).collect()


@pytest.mark.real
def test_a_spot_market_over_midnight(nexo_data: Path, tmp_path: Path) -> None:
    paths = sorted((nexo_data / "raw").rglob("*.jsonl.zst"), key=lambda path: path.name)[FIRST_HOUR:][:HOURS]
    for path in paths:
        target = tmp_path / "batch" / path.relative_to(nexo_data)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    source, now_ns = Portions(), [int(paths[0].name.partition("-")[0])]
    settings = Features(data_dir=str(tmp_path / "live"), venue=VENUE)
    session = SymbolSession(settings, SYMBOL, lambda: now_ns[0], lambda _folder, _first: source)
    session.start()
    for end_ns, lines in portions(paths):
        now_ns[0], source.next = max(now_ns[0], end_ns), [lines]
        session.poll()
    for _ in range(3):
        now_ns[0] += 31 * 10**9
        session.poll()
    session.close()
    live = midas_ray.open(str(tmp_path / "live")).live_features(SYMBOL).collect()
    batch = batch_rows(tmp_path / "batch")
    assert live.equals(batch)
    assert live.height > 60 * (HOURS - 1)
    assert live["ts"].dt.date().n_unique() == 2
