"""Live forecasts as metrics of Ray, where their process has joined one.

Coverage and skill over any time are quotients of the counters' increases: inside / outcomes, and
1 - pinball / trailing pinball.
"""

import math
import time

from midas_ray.capture.health import LatencyMeter
from midas_ray.forecast.live.drift import OUTCOMES_A_FALSE_ALARM, CoverageWatch
from midas_ray.forecast.live.record import ForecastLine, ScoreLine
from midas_ray.forecast.scores import reported
from midas_ray.live.metrics import export_quantiles
from midas_ray.metrics import EXPORT_EVERY_S, Metrics

ALARM_AT = math.log10(OUTCOMES_A_FALSE_ALARM)
_SYMBOL = ("symbol",)
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "forecast_origin_s": ("end of the bucket that was last forecast from, seconds since 1970", _SYMBOL),
    "forecast_delay_ms": ("from a bucket's close to its forecast, last 1000 forecasts", ("symbol", "quantile")),
    "forecast_silent": ("1 where the newest bucket gave no forecast, as its window has a gap", _SYMBOL),
    "forecast_width_bps": ("from P10 to P90 of the next bucket", _SYMBOL),
    "forecast_model": ("1 for the model in use", ("model",)),
    "drift_evidence": (
        f"evidence against the promised coverage, 0 = none, {ALARM_AT:g} = alarm: the gain of bets, as a power of 10",
        _SYMBOL,
    ),
}
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "forecasts": ("forecasts made", _SYMBOL),
    "forecasts_revised": ("forecasts made anew, as something came later or another model took over", _SYMBOL),
    "forecast_outcomes": ("forecasts of the next bucket whose outcome is known", _SYMBOL),
    "forecast_inside": ("outcomes of the next bucket between P10 and P90", _SYMBOL),
    "forecast_pinball_bps": ("sum of mean pinball losses, of forecasts that trailing quantiles stand beside", _SYMBOL),
    "trailing_pinball_bps": ("sum of mean pinball losses of trailing quantiles beside them", _SYMBOL),
    "drift_alarms": ("alarms that coverage has drifted", _SYMBOL),
}


class ForecastMetrics:
    """The series of a process that forecasts. Make it where Ray is connected."""

    def __init__(self) -> None:
        self._metrics = Metrics(GAUGES, COUNTERS)
        self._delays: dict[str, LatencyMeter] = {}
        self._newest: dict[str, ForecastLine] = {}
        self._silent: dict[str, bool] = {}
        self._model: str | None = None
        self._exported_s = 0.0

    def forecast(self, line: ForecastLine, closed_ns: int | None) -> None:
        """A forecast was made. closed_ns: when its bucket was over, where that was just now."""
        self._metrics.add("forecasts" if line.revision == 1 else "forecasts_revised", 1, line.symbol)
        self._newest[line.symbol] = line
        self._silent[line.symbol] = False
        if line.revision == 1 and closed_ns is not None:
            self._delays.setdefault(line.symbol, LatencyMeter()).add((line.made_ns - closed_ns) / 1e6)

    def silence(self, symbol: str) -> None:
        """The newest bucket gave no forecast."""
        self._silent[symbol] = True

    def score(self, scored: ScoreLine, is_alarm: bool) -> None:
        """The future of a forecast has arrived."""
        symbol = scored.symbol
        self._metrics.add("forecast_outcomes", 1, symbol)
        self._metrics.add("forecast_inside", scored.inside[0], symbol)
        self._metrics.add("drift_alarms", is_alarm, symbol)
        if scored.trailing_pinball_bps is not None:
            for name, losses in (
                ("forecast_pinball_bps", scored.pinball_bps),
                ("trailing_pinball_bps", scored.trailing_pinball_bps),
            ):
                self._metrics.add(name, sum(losses) / len(losses), symbol)

    def look(self, model: str, watches: dict[str, CoverageWatch]) -> None:
        """Bring the gauges up to date now and then; call it each round."""
        now_s = time.monotonic()
        if now_s - self._exported_s < EXPORT_EVERY_S:
            return
        self._exported_s = now_s
        if model != self._model:
            if self._model is not None:
                self._metrics.forget(self._model)
            self._model = model
        self._metrics.set("forecast_model", 1, model)
        for symbol, line in self._newest.items():
            low, _, high = reported(line.quantiles)
            self._metrics.set("forecast_origin_s", line.ts_us / 1e6, symbol)
            self._metrics.set("forecast_width_bps", line.value_bps[0][high] - line.value_bps[0][low], symbol)
        for symbol, silent in self._silent.items():
            self._metrics.set("forecast_silent", silent, symbol)
        for symbol, watch in watches.items():
            self._metrics.set("drift_evidence", math.log10(max(watch.evidence, 1.0)), symbol)
        for symbol, delays in self._delays.items():
            export_quantiles(self._metrics, "forecast_delay_ms", delays, symbol)
