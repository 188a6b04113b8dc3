"""How a backtest's page names, colours and prints things. One colour and one mark for one forecaster."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from midas_ray.evaluate.significance import Estimates
from midas_ray.page import Colour, Interval

Float = NDArray[np.float64]
Int = NDArray[np.int64]

NAMES = {
    "tft": "the TFT",
    "trailing": "trailing quantiles",
    "ewma": "EWMA volatility",
    "har": "HAR volatility",
    "linear": "linear quantiles",
    "lightgbm": "LightGBM quantiles",
}
"""Forecasters as sentences call them."""
COLOURS = {
    "tft": Colour.model,
    "trailing": Colour.trailing,
    "ewma": Colour.ewma,
    "har": Colour.har,
    "linear": Colour.linear,
    "lightgbm": Colour.lightgbm,
}
MARKS = {
    "tft": "circle",
    "trailing": "square",
    "ewma": "diamond",
    "har": "triangle-up",
    "linear": "x",
    "lightgbm": "star",
}
UNDEFINED = "undefined"
FAR_OFF = 6.0
"""Times as far from zero as the next one: what lies so far off is named instead of drawn."""
MOST_FAR_OFF = 2


def shade(colour: str, opacity: float = 0.16) -> str:
    """A `#rrggbb` colour, see-through."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity})"


def moment(us: int) -> datetime:
    """UTC time without a zone, as plotly draws it."""
    return datetime.fromtimestamp(us / 1e6, tz=UTC).replace(tzinfo=None)


def moments(us: Int) -> NDArray[np.datetime64]:
    """(n,) microseconds as times that plotly draws, to the second."""
    return (us // 1_000_000).astype("datetime64[s]")


def time_text(us: int) -> str:
    """`2026-01-05 14:30`, UTC."""
    return f"{moment(us):%Y-%m-%d %H:%M}"


def quantile_name(tau: float) -> str:
    """`P10` for 0.1."""
    return f"P{100 * tau:g}"


def duration_name(bucket_ms: int, buckets: int) -> str:
    """`10 min`, or `100 s` where it is not whole minutes, or `4.5 h` from two hours on."""
    seconds = bucket_ms * buckets / 1000
    if seconds >= 7200:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds:g} s" if seconds % 60 else f"{seconds / 60:g} min"


def time_unit(bucket_ms: int) -> tuple[str, float]:
    """The unit of an axis of buckets, and how many of it a bucket lasts: minutes, or seconds for shorter buckets."""
    return ("minutes", bucket_ms / 60_000) if bucket_ms % 60_000 == 0 else ("seconds", bucket_ms / 1000)


def frame(values: dict[str, tuple[float, float]]) -> tuple[list[float] | None, list[str]]:
    """The range of an axis that shows all but what lies so far off that the rest could not be read, and what that is.

    `values`: by name the lowest and highest value, zero belongs to all. None: everything fits.
    """
    reach = {name: max(abs(low), abs(high)) for name, (low, high) in values.items() if np.isfinite([low, high]).all()}
    order = sorted(reach, key=lambda name: reach[name])
    for k in range(len(order) - 1, max(1, len(order) - 1 - MOST_FAR_OFF), -1):
        if reach[order[k]] > FAR_OFF * reach[order[k - 1]] > 0:
            shown = [values[name] for name in order[:k]]
            low, high = min(0.0, *(low for low, _ in shown)), max(0.0, *(high for _, high in shown))
            margin = 0.08 * (high - low)
            return [low - margin, high + margin], [name for name in values if name in order[k:]]
    return None, []


def typeset(text: str) -> str:
    """Minus signs before numbers, and no line break between a number and its unit."""
    signed = re.sub(r"(?<![\w-])-(?=[\d.])", "\N{MINUS SIGN}", text)
    return re.sub(r"(?<=\d) (?=%|bps\b|min\b|h\b|s\b)", "\N{NO-BREAK SPACE}", signed)


def plain(text: str) -> str:
    """Text of the data's own, such as a symbol, for a chart: plotly reads tags in names and labels."""
    return escape(text)


def number(value: float, digits: int = 1, sign: str = "+", unit: str = "") -> str:
    """`+1.2 %`; `0.0` without a sign where it rounds to that; `undefined` where it is no number."""
    if not np.isfinite(value):
        return UNDEFINED
    rounded = round(value, digits)
    return typeset(f"{abs(rounded):,.{digits}f}{unit}" if rounded == 0 else f"{rounded:{sign},.{digits}f}{unit}")


Index = int | tuple[int, ...]
"""Which of an array of estimates; `()` for a single one."""


def _three(estimates: Estimates, at: Index, scale: float) -> list[float]:
    return [scale * float(np.asarray(part)[at]) for part in (estimates.value, estimates.lower, estimates.upper)]


def interval_cell(
    estimates: Estimates, at: Index = (), *, scale: float = 100, digits: int = 2, sign: str = "+"
) -> Interval:
    """A cell of an estimate over its 95 % interval; shares and skills in percent unless `scale` is given."""
    value, lower, upper = (number(part, digits, sign) for part in _three(estimates, at, scale))
    if value == UNDEFINED:
        return Interval(value, "")
    return Interval(value, "no interval" if UNDEFINED in (lower, upper) else f"{lower} to {upper}")


def interval_text(
    estimates: Estimates, at: Index = (), *, scale: float = 100, digits: int = 2, sign: str = "+", unit: str = " %"
) -> str:
    """`+1.2 % (95 % interval -0.3 to +2.6 %)`; shares and skills in percent unless `scale` is given."""
    value, lower, upper = (number(part, digits, sign) for part in _three(estimates, at, scale))
    if UNDEFINED in (value, lower, upper):
        return UNDEFINED
    return typeset(f"{value}{unit} (95 % interval {lower} to {upper}{unit})")


def probability(p: float) -> str:
    """A p-value: `0.032`, `< 0.001`."""
    if not np.isfinite(p):
        return UNDEFINED
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def with_p(p: float) -> str:
    """`p = 0.032`, `p < 0.001`."""
    found = probability(p)
    return f"p {found}" if found.startswith("<") else f"p = {found}"


def subject(name: str) -> str:
    """The judged forecaster as the subject of a sentence, in the singular."""
    return NAMES[name] if name == "tft" else f"the forecast by {NAMES[name]}"


def enumerated(names: Sequence[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def error_bars(estimates: Estimates, scale: float = 100) -> dict[str, object]:
    """plotly's asymmetric error bars of 95 % intervals."""
    value, lower, upper = (scale * np.atleast_1d(part) for part in (estimates.value, estimates.lower, estimates.upper))
    return {
        "type": "data",
        "symmetric": False,
        "array": upper - value,
        "arrayminus": value - lower,
        "thickness": 1.4,
        "width": 4,
    }


def band(x: Float | NDArray[np.datetime64], lower: Float, upper: Float, name: str, colour: str) -> go.Scatter:
    """A filled band between two lines."""
    return go.Scatter(
        x=np.concatenate([x, x[::-1]]), y=np.concatenate([upper, lower[::-1]]), fill="toself", fillcolor=colour,
        line={"width": 0}, mode="lines", name=name, hoverinfo="skip",
    )  # fmt: skip


def thinned(n: int, most: int) -> Int:
    """Positions of at most `most` of `n` points, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
