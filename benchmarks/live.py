"""python -m benchmarks.live: live features of 20 symbols in one process, beside batch of the same hour.

A day of history made by batch lies behind; minutes 53 to 59 of the next hour come in portions of 100 ms to all
symbols in turn, as they would from 20 collected symbols (one market's data for all, a folder each). The spread of a
close is the time in which all 20 buckets of a minute are out, on one core: what the last symbol waits for.
"""

import io
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

from benchmarks.rows import Row, Target, finish, parser_of
from midas_ray.capture.journal import read_blocks
from midas_ray.live.session import SymbolSession
from midas_ray.reconstruct.plan import HOUR_NS, hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.replay import first_recv_ns
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings, Features
from midas_ray.simulate.history import write_history
from midas_ray.storage import Storage
from tests.features.serial import run_features

NAME = "live: 20 symbols, one core"
VENUE, SYMBOL = "binance-futures", "btcusdt"
START_NS = 1_767_571_200 * 10**9
HISTORY_HOURS, SYMBOLS = 25, 20
PORTION_NS = 10**8
FROM_MINUTE = 53


class Portions:
    """Lines that the benchmark hands out, in the place of a follower."""

    path = None

    def __init__(self) -> None:
        self.next: list[bytes] = []

    def poll(self) -> Iterator[bytes]:
        blocks, self.next = self.next, []
        yield from blocks

    def close(self) -> None: ...


def last_hour(folder: Path) -> tuple[bytes, list[tuple[int, bytes]]]:
    """(lines up to FROM_MINUTE, (end, lines) of each portion behind it) of the newest journal."""
    path = max((folder / "raw").rglob("*.jsonl.zst"))
    with path.open("rb") as stream:
        text = b"".join(read_blocks(stream, str(path)))
    begin_ns = START_NS + HISTORY_HOURS * HOUR_NS - HOUR_NS + FROM_MINUTE * 60 * 10**9
    before, portions = list[bytes](), dict[int, list[bytes]]()
    for line in io.BytesIO(text):
        recv_ns = first_recv_ns(line)
        if recv_ns < begin_ns:
            before.append(line)
        else:
            portions.setdefault(recv_ns // PORTION_NS, []).append(line)
    return b"".join(before), [((key + 1) * PORTION_NS, b"".join(lines)) for key, lines in sorted(portions.items())]


def batch(folder: str) -> tuple[float, int]:
    """Processor time of reconstruct and features of the newest hour that is not done yet; hours done."""
    storage, settings = Storage(folder), BookSettings()
    files = raw_files(storage, VENUE, SYMBOL)
    keys = hour_keys(files, settings)
    hours = range(START_NS // HOUR_NS, START_NS // HOUR_NS + HISTORY_HOURS)
    begun_s = time.process_time()
    done = {hour: key for hour, key in keys.items() if hour not in hours}
    for task in plan_tasks(VENUE, SYMBOL, files, keys, done):
        reconstruct_hours(folder, task, settings)
    run_features(storage, SYMBOL)
    return time.process_time() - begun_s, len(hours)


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "all")
        write_history(str(folder), VENUE, (SYMBOL,), 7, START_NS, HISTORY_HOURS * 3600.0)
        batch(str(folder))  # compiles
        before, portions = last_hour(folder)
        for made in ("clean/manifest", "feature_stats", "features"):
            for path in sorted(Path(folder, made).rglob("*.*")):
                path.unlink()
        batch_s, hours = batch(str(folder))
        source, now_ns = Portions(), [portions[0][0]]
        sessions = []
        for at in range(SYMBOLS):
            own = Path(name, str(at))
            own.mkdir()
            for table in ("clean", "feature_stats"):
                (own / table).symlink_to(folder / table)
            (own / "raw").symlink_to(folder / "raw")
            settings = Features(data_dir=str(own))
            sessions.append(SymbolSession(settings, SYMBOL, lambda: now_ns[0], lambda _folder, _first: source))
            source.next = [before]
            sessions[-1].start()
        spreads, quiet_s, minutes = [], list[float](), (portions[-1][0] - portions[0][0]) / 60e9
        for end_ns, lines in portions:
            now_ns[0] = end_ns
            begun_s, made_rows = time.process_time(), 0
            for session in sessions:
                source.next = [lines]
                made_rows += len(session.poll())
            (spreads if made_rows >= SYMBOLS else quiet_s).append(time.process_time() - begun_s)
        spreads = spreads[2:]  # the first ones compile, and make up for what was before
    an_hour_s = (sum(quiet_s) / minutes + statistics.mean(spreads)) * 60 / SYMBOLS
    return [
        Row(
            benchmark=NAME, what="spread of a close, median", value=statistics.median(spreads), least=min(spreads),
            note=f"processor time until all {SYMBOLS} are out; {len(spreads)} closes",
        ),
        Row(benchmark=NAME, what="spread of a close, largest", value=max(spreads), target=Target(0.9, "at most")),
        Row(
            benchmark=NAME, what="share of a core, following", value=sum(quiet_s) / (60 * minutes),
            unit="", note="between closes",
        ),
        Row(
            benchmark=NAME, what="an hour of a symbol, live", value=an_hour_s, against="batch",
            ratio=an_hour_s / (batch_s / hours), note="60 publications, 36,000 looks",
        ),
        Row(benchmark=NAME, what="an hour of a symbol, batch", value=batch_s / hours, note="reconstruct and features"),
    ]  # fmt: skip


def main() -> None:
    arguments = parser_of(__doc__).parse_args()
    finish(measure(), arguments.json)


if __name__ == "__main__":
    main()
