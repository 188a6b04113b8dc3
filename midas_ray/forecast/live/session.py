"""Live forecasts of many symbols: features in, forecasts and scores out, on the record."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import numpy as np

from midas_ray.dataset.panel import Panel, load_panel
from midas_ray.errors import DataError
from midas_ray.forecast.live.drift import CoverageWatch
from midas_ray.forecast.live.forecast import LiveForecast, Silence, forecast_at
from midas_ray.forecast.live.history import Histories
from midas_ray.forecast.live.metrics import ForecastMetrics
from midas_ray.forecast.live.models import ModelInUse
from midas_ray.forecast.live.record import ForecastLine, ForecastRecord, ScoreLine, iso
from midas_ray.forecast.live.scoring import score
from midas_ray.live.frame import last_publications
from midas_ray.live.publication import Publication
from midas_ray.storage import Storage

RENEW_EVERY_S = 2.0
LOOK_BACK_EVERY_S = 30.0


@dataclass(slots=True)
class ForecastSession:
    """Everything that `midas forecast` knows between two buckets.

    `say` gets each sentence that a person should read; metrics: None where no Ray would serve them.
    """

    storage: Storage
    venue: str
    symbols: list[str]
    model: ModelInUse
    say: Callable[[str], None]
    clock_ns: Callable[[], int] = time.time_ns
    metrics: ForecastMetrics | None = None
    histories: Histories = field(init=False)
    record: ForecastRecord = field(init=False)
    watches: dict[str, CoverageWatch] = field(init=False)
    _newest: dict[str, int] = field(init=False, default_factory=dict)
    _silent: dict[str, str] = field(init=False, default_factory=dict)
    _renewed_s: float = field(init=False, default=0.0)
    _looked_back_s: float = field(init=False, default=0.0)
    _features_seen: dict[str, object] = field(init=False, default_factory=dict)
    _holes: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        forecaster = self.model.predictor.forecaster
        unknown = [symbol for symbol in self.symbols if symbol not in forecaster.normalizer.symbols]
        self.symbols = [symbol for symbol in self.symbols if symbol not in unknown]
        if not self.symbols:
            raise DataError(
                f"model {self.model.run}: expected one of its symbols, {', '.join(forecaster.normalizer.symbols)}, to "
                f"be collected, found {', '.join(unknown) or 'none'}; choose with --symbols, or train on them"
            )
        if unknown:
            self.say(f"left out, not in the model {self.model.run}: {', '.join(unknown)}")
        self.histories = Histories(self.venue, forecaster.bucket_ms, forecaster.price_source, forecaster.input_length)
        bucket_us = forecaster.bucket_ms * 1000
        now_us = self.clock_ns() // 1000
        self.record = ForecastRecord(
            self.storage, self.venue, bucket_us, now_us - (2 * forecaster.output_length + 60) * bucket_us
        )
        self.record.open(self.symbols)
        self.watches = {symbol: CoverageWatch() for symbol in self.symbols}
        self._load_history(now_us)

    def _load_history(self, now_us: int) -> None:
        bucket_us = self.record.bucket_us
        reach_us = self.histories.kept * bucket_us
        first = (datetime.fromtimestamp((now_us - reach_us) / 1e6, UTC) - timedelta(days=1)).date()
        for symbol in self.symbols:
            self._read_features(symbol, first)
            self.histories.add(last_publications(self.storage, self.venue, symbol, bucket_us, first))

    def _read_features(self, symbol: str, first: date) -> None:
        """Take over the feature table from the day `first` on, as it is now. Raises DataError."""
        files = {
            partition: self.storage.listing(partition.path, ".parquet")
            for partition in self.storage.partitions("features")
            if (partition.venue, partition.symbol) == (self.venue, symbol) and partition.date >= first
        }
        stamp = tuple((file.path, file.stamp) for each in files.values() for file in each)
        if stamp == self._features_seen.get(symbol):
            return
        self._features_seen[symbol] = stamp
        if stamp:
            panel = load_panel(self.storage, self.venue, (symbol,), first)
            if panel.bucket_ms == self.histories.bucket_ms:
                self.histories.add_panel(panel)

    def look_back(self) -> None:
        """Fill holes of the history from a feature table that was written since; say where some are left.

        Looked for every half minute. Raises DataError.
        """
        now_s = time.monotonic()
        if now_s - self._looked_back_s < LOOK_BACK_EVERY_S or not self._newest:
            return
        self._looked_back_s = now_s
        for symbol in self.symbols:
            missing, newest_us = self.histories.holes(symbol)
            if missing:
                reach_us = self.histories.kept * self.record.bucket_us
                since = datetime.fromtimestamp((newest_us - reach_us) / 1e6, UTC) - timedelta(days=1)
                self._read_features(symbol, since.date())
                missing, newest_us = self.histories.holes(symbol)
            if missing != self._holes.get(symbol, 0):
                self._holes[symbol] = missing
                self.say(self._about_holes(symbol, missing, newest_us))

    def _about_holes(self, symbol: str, missing: int, newest_us: int) -> str:
        if not missing:
            return f"{symbol}: no bucket is missing in the history any more: forecasts equal those of batch"
        return (
            f"{symbol}: {missing} bucket{'s' if missing > 1 else ''} up to {iso(newest_us)} are missing in the "
            "history, whose returns the volatility lacks: widths may be some percent off; midas reconstruct and midas "
            "features fill what was collected, and it is taken up from there"
        )

    def take(self, publications: list[Publication]) -> list[ForecastLine]:
        """Take over published buckets; gives the forecasts that were made and recorded for it.

        A bucket that is new is forecast from; one that was published again makes the newest forecast anew if that has
        seen it. Scores what has become known. Raises StorageError.
        """
        publications = [each for each in publications if each.symbol in self.watches]
        if not publications:
            return []
        self.histories.add(publications)
        wanted: dict[str, int] = {}
        for each in publications:
            newest = self._newest.get(each.symbol)
            if newest is None or each.ts_us > newest:
                self._newest[each.symbol] = each.ts_us
            wanted[each.symbol] = self._newest[each.symbol]
        lines = self._forecast(wanted)
        self._score({each.symbol for each in publications})
        return lines

    def renew(self) -> None:
        """Take up a newly promoted model, looked for every two seconds."""
        now_s = time.monotonic()
        if now_s - self._renewed_s < RENEW_EVERY_S:
            return
        self._renewed_s = now_s
        news = self.model.renew()
        if news is not None:
            self.say(news)
            self.histories.input_length = self.model.predictor.forecaster.input_length

    def _forecast(self, wanted: dict[str, int]) -> list[ForecastLine]:
        trained = self.model.predictor.forecaster.normalizer.symbols
        wanted = {symbol: ts_us for symbol, ts_us in wanted.items() if symbol in trained}
        panel = self.histories.panel(wanted)
        lines = []
        for found in forecast_at(self.model.predictor, panel, wanted):
            if isinstance(found, Silence):
                self._tell_silence(found)
                continue
            self._silent.pop(found.symbol, None)
            line = self._line(found)
            if line is not None:
                self.record.append(line)
                lines.append(line)
        return lines

    def _line(self, found: LiveForecast) -> ForecastLine | None:
        """The line to record; None where the same was said before."""
        before = self.record.said.get((found.symbol, found.ts_us))
        values = found.value_bps.tolist()
        if before is not None and before.value_bps == values and before.model == self.model.run:
            return None
        return ForecastLine(
            ts=iso(found.ts_us),
            ts_us=found.ts_us,
            symbol=found.symbol,
            model=self.model.run,
            revision=1 if before is None else before.revision + 1,
            made_ns=self.clock_ns(),
            reference_price=found.price,
            quantiles=list(found.quantiles),
            value_bps=values,
            price=(found.price * np.exp(found.value_bps / 1e4)).tolist(),
        )

    def _tell_silence(self, silence: Silence) -> None:
        if self.metrics is not None:
            self.metrics.silence(silence.symbol)
        if self._silent.get(silence.symbol) != silence.cause:
            self._silent[silence.symbol] = silence.cause
            self.say(f"{iso(silence.ts_us)} {silence.symbol}: no forecast, {silence.reason}")

    def _score(self, symbols: set[str]) -> None:
        """Score every recorded forecast of these symbols whose future has arrived."""
        horizons_us = {key: len(line.value_bps) * self.record.bucket_us for key, line in self.record.said.items()}
        due = [
            (key, line)
            for key, line in sorted(self.record.said.items(), key=lambda item: item[0][1])
            if key[0] in symbols
            and key not in self.record.scored
            and line.ts_us + horizons_us[key] <= self._newest[key[0]]
        ]
        if not due:
            return
        panel = self.histories.panel({symbol for (symbol, _), _ in due})
        for (symbol, _), line in due:
            scored = self._score_one(panel, line)
            if scored is None:
                self.record.scored.add((symbol, line.ts_us))  # its future has a gap: it stays unscored
                continue
            self.record.append(scored)
            watch = self.watches[symbol]
            has_drifted = watch.add(scored.inside[0])
            if self.metrics is not None:
                self.metrics.score(scored, has_drifted)
            if has_drifted:
                self.say(
                    f"{iso(line.ts_us)} {symbol}: coverage has drifted: {100 * watch.coverage:.0f} % of the last "
                    f"{watch.outcomes} outcomes lay between P10 and P90, 80 % promised; train or calibrate again"
                )
                self.watches[symbol] = CoverageWatch()
        self.record.forget(min(self._newest.values()) - (2 * len(line.value_bps) + 60) * self.record.bucket_us)

    def _score_one(self, panel: Panel, line: ForecastLine) -> ScoreLine | None:
        at = np.flatnonzero((panel.symbol_index == panel.symbols.index(line.symbol)) & (panel.ts_us == line.ts_us))
        horizons = len(line.value_bps)
        if not len(at) or at[0] + horizons >= len(panel):
            return None
        row = int(at[0])
        last = row + horizons
        consecutive = panel.ts_us[last] - panel.ts_us[row] == horizons * panel.bucket_us
        same = panel.symbol_index[last] == panel.symbol_index[row]
        return score(panel, line, row) if consecutive and same else None
