"""`midas features --live`: publishes each bucket as it closes, until --duration has passed, Ctrl-C or SIGTERM."""

import asyncio
import contextlib
import signal
import time

import numpy as np

from midas_ray import console
from midas_ray.errors import UsageError
from midas_ray.features.registry import POSITION
from midas_ray.features.run import features as batch_features
from midas_ray.live.features import POLL_S, LiveFeatures
from midas_ray.live.metrics import LiveMetrics
from midas_ray.live.publication import Publication
from midas_ray.log import Reporter
from midas_ray.ray_session import joined_if_named
from midas_ray.settings import Features
from midas_ray.storage import Storage

SILENT_S = 5.0
"""A symbol without a collector is named after so long, and again after each change."""


def features(settings: Features) -> int:
    """Run `midas features`, with or without --live; gives the exit code. Raises MidasError with one line."""
    if not settings.live:
        if settings.duration is not None:
            raise UsageError("--duration: expected with --live only; without it, features ends when all is up to date")
        return batch_features(settings)
    with LiveFeatures(settings) as live, joined_if_named(settings) as on_ray:
        return asyncio.run(_run(settings, live, LiveMetrics(settings.time_bucket_ms) if on_ray else None))


async def _run(settings: Features, live: LiveFeatures, metrics: LiveMetrics | None) -> int:
    report = Reporter(Storage(settings.data_dir), "features")
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    tally = Tally()
    try:
        begun_s = time.monotonic()
        await _start(live, stopping, report)
        until_s = None if settings.duration is None else begun_s + settings.duration
        waits = Waits(live, settings, report)
        while not stopping.is_set() and (until_s is None or time.monotonic() < until_s):
            round_s = time.monotonic()
            publications = live.poll()
            for publication in publications:
                tally.add(publication)
                console.out.print(line_of(publication))
            if metrics is not None:
                metrics.took(publications)
            waits.look()
            left_s = POLL_S - (time.monotonic() - round_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), max(left_s, 0.0))
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # all is written: a late signal is not to change the exit code
    report.result(f"live features: {tally.summary()}")
    return 0


async def _start(live: LiveFeatures, stopping: asyncio.Event, report: Reporter) -> None:
    """Read what there is so far, unless stopped meanwhile."""
    begun_s = time.monotonic()
    for session in live.sessions:
        for _ in session.starting():
            await asyncio.sleep(0)
            if stopping.is_set():
                return
    seconds = time.monotonic() - begun_s
    report.result(f"live features: following {', '.join(live.symbols)}; read what there was in {seconds:.1f} s")


class Waits:
    """Says which symbols are not collected, when that changes."""

    def __init__(self, live: LiveFeatures, settings: Features, report: Reporter) -> None:
        self._live, self._settings, self._report = live, settings, report
        self._said: list[str] = []
        self._since: tuple[list[str], float] = ([], 0.0)

    def look(self) -> None:
        """Call it each round."""
        waiting, now_s = self._live.waiting, time.monotonic()
        if waiting != self._since[0]:
            self._since = waiting, now_s
        if waiting == self._said or now_s - self._since[1] < SILENT_S:
            return
        self._said = waiting
        if not waiting:
            self._report.result("live features: all symbols are being collected")
            return
        unknown = [symbol for symbol in waiting if symbol not in self._live.present]
        present = ", ".join(self._live.present)
        found = f" (found {f'only {present}' if present else 'no symbol at all'})" if unknown else ""
        self._report.result(
            f"live features: {', '.join(waiting)}: nothing is being collected under {self._settings.data_dir}/raw of "
            f"{self._settings.venue}{found}; waiting for midas collect or midas up"
        )


class Tally:
    """What a run has published."""

    def __init__(self) -> None:
        self._buckets = self._revisions = self._made_up = 0
        self._latencies_s: list[float] = []

    def add(self, publication: Publication) -> None:
        self._revisions += publication.revised
        self._buckets += not publication.revised
        if publication.closed_by in ("streams", "clock"):
            self._latencies_s.append(publication.latency_s)
        self._made_up += publication.closed_by == "restart"

    def summary(self) -> str:
        """Counts, and how long after its close a bucket was out."""
        text = f"{self._buckets:,} buckets, {self._revisions:,} revisions"
        if self._made_up:
            text += f", {self._made_up:,} made up for at the start"
        if self._latencies_s:
            middle, late, most = np.quantile(self._latencies_s, [0.5, 0.99, 1.0])
            text += f"; published after the close: median {middle:.3f} s, p99 {late:.3f} s, at most {most:.3f} s"
        return text


def line_of(publication: Publication) -> str:
    """One short line: bucket, symbol, a few values, what is covered, and how soon."""
    p = publication
    end = f"{np.datetime64(p.ts_us, 'us').astype('datetime64[s]')}".replace("T", " ")

    def value(name: str, digits: int) -> str:
        number = p.values[POSITION[name]]
        return "-" if np.isnan(number) else f"{number:.{digits}f}"

    parts = [
        f"{end} {p.symbol}",
        f"mid {value('midprice', 6).rstrip('0').rstrip('.')}",
        f"returns {value('returns', 6)}",
        f"ofi {value('ofi', 3)}",
        f"volume {value('volume', 3)}",
        f"book {console.share_text(p.coverage)}",
        f"trades {console.share_text(p.trades_coverage)}",
    ]
    if p.revised:
        parts.append(f"revision {p.revision}")
    if p.closed_by in ("streams", "clock"):
        parts.append(f"{p.latency_s:+.3f} s")
    return "  ".join(parts) + (f" ({p.closed_by})" if p.closed_by != "streams" else "")
