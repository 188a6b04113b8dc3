"""From the panel of the moment to forecasts, or to the reason why there is none. No I/O."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.windows import usable_rows
from midas_ray.features.nulls import NullKind
from midas_ray.forecast.forecaster import Predictor

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveForecast:
    """Quantiles of the next H buckets from one origin."""

    ts_us: int
    """The origin: end of the bucket, the moment its row is known."""
    symbol: str
    price: float
    """Reference price P at the origin."""
    quantiles: tuple[float, ...]
    value_bps: Float
    """(H, Q) of 1e4 ln(P_{t+h}/P_t), calibrated."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Why a symbol has no forecast at this origin."""

    ts_us: int
    symbol: str
    cause: str
    """The same from bucket to bucket, until something else is in the way."""
    reason: str


def forecast_at(predictor: Predictor, panel: Panel, wanted: dict[str, int]) -> list[LiveForecast | Silence]:
    """Forecasts of the symbols at their origins `wanted` (end of bucket, us), in order of the symbols.

    Raises DataError for a panel of another kind than the model's.
    """
    forecaster = predictor.forecaster
    found: list[LiveForecast | Silence] = []
    rows: list[int] = []
    usable = usable_rows(panel, forecaster.columns)
    for symbol, ts_us in sorted(wanted.items()):
        row = _row_of(panel, symbol, ts_us)
        missing = ("no row of that bucket", "") if row is None else _missing(panel, row, usable, predictor)
        if missing is not None:
            found.append(Silence(ts_us, symbol, missing[0], " ".join(missing).strip()))
        elif row is not None:
            rows.append(row)
    values = predictor.predict(panel, np.array(rows, dtype=np.int64)) if rows else np.empty((0, 0, 0))
    for row, value in zip(rows, values, strict=True):
        found.append(
            LiveForecast(
                ts_us=int(panel.ts_us[row]),
                symbol=panel.symbols[panel.symbol_index[row]],
                price=float(panel.price[row]),
                quantiles=forecaster.quantiles,
                value_bps=value,
            )
        )
    return sorted(found, key=lambda each: each.symbol)


def _row_of(panel: Panel, symbol: str, ts_us: int) -> int | None:
    if symbol not in panel.symbols:
        return None
    at = np.flatnonzero((panel.symbol_index == panel.symbols.index(symbol)) & (panel.ts_us == ts_us))
    return int(at[0]) if len(at) else None


def _missing(panel: Panel, row: int, usable: NDArray[np.bool_], predictor: Predictor) -> tuple[str, str] | None:
    """Why the window that ends at `row` cannot be read, and how far back that is; or None."""
    length = predictor.forecaster.input_length
    first = row - length + 1
    spans = first >= 0 and panel.symbol_index[first] == panel.symbol_index[row]
    if not spans or panel.ts_us[row] - panel.ts_us[first] != (length - 1) * panel.bucket_us:
        have = 1
        while (
            row - have >= 0
            and panel.symbol_index[row - have] == panel.symbol_index[row]
            and panel.ts_us[row] - panel.ts_us[row - have] == have * panel.bucket_us
        ):
            have += 1
        return "too few buckets in a row:", f"{min(have, length)} of {length}"
    bad = np.flatnonzero(~usable[first : row + 1]) + first
    if not len(bad):
        return None
    last = int(bad[-1])
    when = f"{row - last} buckets ago" if row > last else "in this bucket"
    if np.isnan(panel.price[last]):
        return "no price", when
    kinds = panel.kinds[last, panel.positions(predictor.forecaster.columns)]
    position = int(np.flatnonzero((kinds == NullKind.GAP) | (kinds == NullKind.WARM_UP))[0])
    cause = "a gap" if kinds[position] == NullKind.GAP else "its warm-up"
    return f"{predictor.forecaster.columns[position]} is null by {cause}", when
