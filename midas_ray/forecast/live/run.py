"""`midas forecast`: a line for every bucket of every symbol, until --duration has passed, Ctrl-C or SIGTERM."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from midas_ray import console, settings
from midas_ray.errors import UsageError
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.forecast.live.metrics import ForecastMetrics
from midas_ray.forecast.live.models import ModelInUse
from midas_ray.forecast.live.record import ForecastLine
from midas_ray.forecast.live.session import ForecastSession
from midas_ray.forecast.live.source import open_source
from midas_ray.forecast.scores import reported
from midas_ray.live.features import POLL_S
from midas_ray.live.metrics import LiveMetrics
from midas_ray.live.publication import Publication
from midas_ray.ray_session import joined_if_named
from midas_ray.storage import Storage


def forecast(values: settings.Forecast) -> int:
    """Follow live features and forecast, here or as an actor. Gives the exit code.

    Raises UsageError without a model or for a remote DATA_DIR, DataError where nothing fits the model.
    """
    if values.detach or values.stop:
        from midas_ray.forecast.live import actor

        console.out.print(actor.stop(values) if values.stop else actor.start(values))
        return 0
    work = Forecasting(values, console.err.print)
    try:
        with joined_if_named(values) as on_ray:
            if on_ray:
                work.serve_metrics()
            _follow_until_stopped(work, values.duration)
    finally:
        work.close()
    console.out.print(work.tally.summary())
    return 0


def _follow_until_stopped(work: "Forecasting", duration_s: float | None) -> None:
    stopping = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        work.follow(stopping, duration_s, lambda line: console.out.print(line_of(line)))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Forecasting:
    """A source of features, the model in use, and the session that makes forecasts of both.

    `say` gets each sentence that a person should read. Raises as `forecast`.
    """

    def __init__(self, values: settings.Forecast, say: Callable[[str], None]) -> None:
        import torch

        torch.set_num_threads(1)  # a batch of a few windows: more threads only wait for each other
        self._say, self._heard_s, self._silence_said = say, time.monotonic(), False
        self._live_metrics: LiveMetrics | None = None
        self.model = ModelInUse(Path(values.model_dir), Path(values.model) if values.model else None)
        self.tally = Tally()
        forecaster = self.model.predictor.forecaster
        self._source, symbols, followed = open_source(_features_settings(values, forecaster))
        try:
            self.session = ForecastSession(Storage.of(values), forecaster.venue, symbols, self.model, say)
        except BaseException:
            self._source.close()
            raise
        self._makes_features = not followed
        made = "another process makes the features" if followed else "features are made here"
        say(
            f"forecasting {', '.join(self.session.symbols)} by {self.model.run}: {forecaster.output_length} buckets of "
            f"{forecaster.bucket_ms / 1000:g} s ahead; {made}"
        )

    def serve_metrics(self) -> None:
        """From now on; call where Ray is connected."""
        self.session.metrics = ForecastMetrics()
        if self._makes_features:
            self._live_metrics = LiveMetrics(self.model.predictor.forecaster.bucket_ms)

    def follow(
        self,
        stopping: threading.Event,
        duration_s: float | None,
        show: Callable[[ForecastLine], None] = lambda _: None,
    ) -> None:
        """Until `stopping` is set or `duration_s` has passed."""
        until_s = None if duration_s is None else time.monotonic() + duration_s
        while not stopping.is_set() and (until_s is None or time.monotonic() < until_s):
            begun_s = time.monotonic()
            self.session.renew()
            publications = self._source.poll()
            closed_ns = {
                (each.symbol, each.ts_us): each.closed_ns
                for each in publications
                if each.closed_by in ("streams", "clock")
            }
            self.session.look_back()
            self._watch_silence(bool(publications))
            for line in self.session.take(publications):
                self.tally.add(line, closed_ns.get((line.symbol, line.ts_us)))
                show(line)
                if self.session.metrics is not None:
                    self.session.metrics.forecast(line, closed_ns.get((line.symbol, line.ts_us)))
            self._export(publications)
            stopping.wait(max(POLL_S - (time.monotonic() - begun_s), 0.0))

    def _export(self, publications: list[Publication]) -> None:
        if self._live_metrics is not None:
            self._live_metrics.took(publications)
        if self.session.metrics is not None:
            self.session.metrics.look(self.model.run, self.session.watches)

    def _watch_silence(self, heard: bool) -> None:
        """Say once when no bucket has closed for long."""
        now_s = time.monotonic()
        if heard:
            self._heard_s, self._silence_said = now_s, False
        longest_s = max(SILENT_S, 2 * self.model.predictor.forecaster.bucket_ms / 1000 + 5)
        if not self._silence_said and now_s - self._heard_s > longest_s:
            self._silence_said = True
            self._say(
                f"no bucket has closed for {longest_s:.0f} s: is midas up or midas collect running for "
                f"{', '.join(self.session.symbols)}, into the same --data-dir?"
            )

    def close(self) -> None:
        self._source.close()


def _features_settings(values: settings.Forecast, forecaster: Forecaster) -> settings.Features:
    """Those of `midas features --live` for the model's venue and bucket, and of its symbols those being collected."""
    symbols = values.symbols
    if "time_bucket_ms" in values.model_fields_set and values.time_bucket_ms != forecaster.bucket_ms:
        raise UsageError(
            f"--time-bucket-ms {values.time_bucket_ms}: expected the model's, {forecaster.bucket_ms} ms; leave it out, "
            "or train another model"
        )
    if not symbols:
        present = Storage.of(values).symbols("raw", forecaster.venue)
        symbols = tuple(symbol for symbol in forecaster.normalizer.symbols if symbol in present)
    shared = {name: getattr(values, name) for name in settings.Features.model_fields if hasattr(values, name)}
    own = {"live": True, "venue": forecaster.venue, "time_bucket_ms": forecaster.bucket_ms, "symbols": symbols}
    return settings.Features.model_construct(**{**shared, **own})


SILENT_S = 15.0


class Tally:
    """What a run has said, and how soon."""

    def __init__(self) -> None:
        self._delays_s: list[float] = []
        self._made = self._revised = 0

    def add(self, line: ForecastLine, closed_ns: int | None) -> None:
        self._made += line.revision == 1
        self._revised += line.revision > 1
        if line.revision == 1 and closed_ns is not None:
            self._delays_s.append((line.made_ns - closed_ns) / 1e9)

    def summary(self) -> str:
        """Counts, and how long after the close of its bucket a forecast was made."""
        text = f"{self._made:,} forecasts, {self._revised:,} made anew"
        if self._delays_s:
            middle, late = np.quantile(self._delays_s, [0.5, 0.99])
            text += f"; after the bucket's close: median {middle:.3f} s, p99 {late:.3f} s"
        return text


def line_of(line: ForecastLine) -> str:
    """One short line: origin, symbol, price, and P10, P50, P90 of the next and of the last bucket, in bps."""
    positions = reported(line.quantiles)

    def band(horizon: int) -> str:
        return " ".join(f"{line.value_bps[horizon][position]:+.2f}" for position in positions)

    last = len(line.value_bps)
    revised = f"  revision {line.revision}" if line.revision > 1 else ""
    return (
        f"{line.ts} {line.symbol}  P {line.reference_price:g}  +1 [{band(0)}]  +{last} [{band(last - 1)}] bps"
        f"  {line.model}{revised}"
    )
