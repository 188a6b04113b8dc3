"""Scalers of features and targets, fitted on training windows only.

Shapes: n rows, w windows, S symbols, K price columns, V other inputs, H horizons. Statistics are kept per symbol: sizes
of two markets differ by orders of magnitude. A symbol with fewer than `MIN_KNOWN` known values of a column gets the
pooled ones.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from midas_ray.dataset.mapped import large_array
from midas_ray.dataset.panel import FloatArray, IntArray, Panel
from midas_ray.dataset.volatility import HAR_WINDOWS, HarVolatility
from midas_ray.dataset.windows import targets_bps
from midas_ray.errors import DataError, SchemaError
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURES, Feature, Neutral

NORMALIZER_VERSION = 2
MIN_KNOWN = 30
CLIP = 10.0
"""Scaled inputs are cut at plus and minus this many units: one wild print must not drown a window."""
_IQR_OF_NORMAL = 1.3489795003921634
_PRICE_CHUNK = 1 << 21


@dataclass(frozen=True, slots=True)
class ColumnScaler:
    """How one column is scaled: z = (f(x) - center) / scale, per symbol; `offset` is the parameter of f.

    f by `scaler`: log1p_robust ln(1 + x), asinh_robust asinh(x / offset), log_robust ln(x + offset), price_bps
    1e4 ln(x / P at the window's origin), standard and none x itself.
    """

    name: str
    scaler: str
    neutral: Neutral
    """What stands for an undefined value, before scaling: a number, `midprice` (the row's P), or None (the center)."""
    center: tuple[float, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScaledRows:
    """All rows of a panel, scaled. NaN where a row may not be in a window."""

    inputs: npt.NDArray[np.float32]
    """(n, V) scaled columns without the prices, then one 0/1 indicator a family, then the HAR terms."""
    log_prices: FloatArray
    """(n, K) 1e4 ln of the price columns: their scaling needs the window's origin."""
    log_reference: FloatArray
    """(n,) 1e4 ln P."""
    symbol: IntArray
    """(n,) position in the normalizer's symbols."""


def _curve(scaler: str, x: FloatArray, offset: FloatArray | float) -> FloatArray:
    if scaler == "log1p_robust":
        return np.log1p(x)
    if scaler == "asinh_robust":
        return np.arcsinh(x / offset)
    if scaler == "log_robust":
        return np.log(x + offset)
    return x


def _offset(scaler: str, x: FloatArray) -> float:
    if scaler == "asinh_robust":
        size = np.abs(x[x != 0])
        return float(np.median(size)) if len(size) else 1.0
    if scaler == "log_robust":
        # Of the positive ones: in a quiet market over 1 % are 0, and ln(0 + 0) is no number.
        positive = x[x > 0]
        return float(np.quantile(positive, 0.01)) if len(positive) else 1.0
    return 1.0


def _center_and_scale(scaler: str, x: FloatArray) -> tuple[float, float]:
    if scaler == "none":
        return 0.0, 1.0
    deviation = float(np.std(x))
    if scaler.endswith("_robust"):
        low, center, high = (float(q) for q in np.quantile(x, [0.25, 0.5, 0.75]))
        deviation = (high - low) / _IQR_OF_NORMAL or deviation
    else:
        center = float(np.mean(x))
    return center, deviation or 1.0


def _fit_column(feature: Feature, x: FloatArray, symbol: IntArray, symbols: int) -> ColumnScaler:
    """`x`: known training values, `symbol`: whose."""

    def statistics(known: FloatArray) -> tuple[float, float, float]:
        if not len(known):
            return 0.0, 1.0, 1.0
        offset = _offset(feature.scaler, known)
        return (*_center_and_scale(feature.scaler, _curve(feature.scaler, known, offset)), offset)

    pooled = statistics(x)
    rows = []
    for index in range(symbols):
        own = x[symbol == index]
        rows.append(statistics(own) if len(own) >= MIN_KNOWN else pooled)
    center, scale, offset = zip(*rows, strict=True)
    return ColumnScaler(feature.name, feature.scaler, feature.neutral, center, scale, offset)


def _fit_prices(
    panel: Panel, feature: Feature, log_price: FloatArray, origins: IntArray, input_length: int
) -> ColumnScaler:
    """Mean and deviation of 1e4 ln(price / P at the origin) over all rows of the training windows, per symbol."""
    back = np.arange(1 - input_length, 1)
    log_reference = 1e4 * np.log(panel.price)
    center, scale = [], []
    for index in range(len(panel.symbols)):
        own = origins[panel.symbol_index[origins] == index]
        count, total, squares = 0, 0.0, 0.0
        for chunk in np.array_split(own, 1 + len(own) * input_length // _PRICE_CHUNK):
            bps = log_price[chunk[:, None] + back] - log_reference[chunk][:, None]
            known = bps[~np.isnan(bps)]
            count, total, squares = count + len(known), total + float(known.sum()), squares + float((known**2).sum())
        mean = total / count if count else 0.0
        center.append(mean)
        scale.append(float(np.sqrt(max(squares / count - mean**2, 0.0))) or 1.0 if count else 1.0)
    ones = (1.0,) * len(panel.symbols)
    return ColumnScaler(feature.name, feature.scaler, feature.neutral, tuple(center), tuple(scale), ones)


def _fit_targets(
    panel: Panel, origins: IntArray, output_length: int, sigma_bps: FloatArray
) -> tuple[tuple[float, ...], ...]:
    """(S, H) mean absolute target in units of sigma (w,): never 0 where anything moved, and not ruled by few jumps."""
    size = np.abs(targets_bps(panel, origins, output_length)) / sigma_bps[:, None]
    pooled = size.mean(axis=0)
    rows = []
    for index in range(len(panel.symbols)):
        own = size[panel.symbol_index[origins] == index]
        row = own.mean(axis=0) if len(own) >= MIN_KNOWN else pooled
        rows.append(tuple(float(value) or 1.0 for value in np.where(row > 0, row, pooled)))
    return tuple(rows)


def _fit_log_volatility(log_terms: FloatArray, symbol: IntArray, symbols: int) -> tuple[ColumnScaler, ...]:
    """Scalers of the HAR terms (n, K) of the training rows."""
    columns = []
    for position, window in enumerate(HAR_WINDOWS):
        own = [log_terms[symbol == index, position] for index in range(symbols)]
        known = [x if len(x) >= MIN_KNOWN else log_terms[:, position] for x in own]
        center = tuple(float(np.mean(x)) for x in known)
        scale = tuple(float(np.std(x)) or 1.0 for x in known)
        columns.append(ColumnScaler(f"volatility_{window}", "none", None, center, scale, (1.0,) * symbols))
    return tuple(columns)


def _raw(panel: Panel, name: str, neutral: Neutral) -> FloatArray:
    """(n,) values of a column with undefined ones replaced by the neutral value; NaN where that is None."""
    position = panel.feature_names.index(name)
    undefined = panel.kinds[:, position] == NullKind.UNDEFINED
    x = panel.values[:, position]
    if neutral is None:
        return x
    result: FloatArray = np.where(undefined, panel.price if neutral == "midprice" else neutral, x)
    return result


@dataclass(frozen=True, slots=True)
class Normalizer:
    """Everything fitted about the data. `to_json` and `from_json` give back the same numbers, bit for bit."""

    symbols: tuple[str, ...]
    input_length: int
    output_length: int
    columns: tuple[ColumnScaler, ...]
    indicators: dict[str, tuple[str, ...]]
    """Family -> its columns; the indicator is 1 where any of them is undefined."""
    volatility: HarVolatility
    volatility_columns: tuple[ColumnScaler, ...]
    """Inputs made here: ln of the volatility over the last `HAR_WINDOWS` returns, standardised."""
    target_unit: tuple[tuple[float, ...], ...]
    """(S, H) mean absolute target of the training part in units of the HAR volatility at the origin."""

    @classmethod
    def fit(
        cls, panel: Panel, origins: IntArray, columns: Sequence[str], input_length: int, output_length: int
    ) -> Self:
        """Fit on the rows and labels of the windows at the training `origins`, and on nothing else."""
        features = [feature for feature in FEATURES if feature.name in columns]
        rows = np.unique(origins[:, None] + np.arange(1 - input_length, 1))
        symbol = panel.symbol_index[rows]
        scalers: list[ColumnScaler] = []
        indicators: dict[str, tuple[str, ...]] = {}
        for feature in features:
            position = panel.feature_names.index(feature.name)
            kinds = panel.kinds[rows, position]
            if (kinds == NullKind.UNDEFINED).any():
                indicators[feature.family] = (*indicators.get(feature.family, ()), feature.name)
            if feature.scaler == "price_bps":
                log_price = 1e4 * np.log(_raw(panel, feature.name, feature.neutral))
                scalers.append(_fit_prices(panel, feature, log_price, origins, input_length))
            else:
                known = kinds == NullKind.VALUE
                values = panel.values[rows[known], position]
                scalers.append(_fit_column(feature, values, symbol[known], len(panel.symbols)))
        volatility = HarVolatility.fit(panel, origins, output_length)
        sigma_bps = volatility.sigma_bps(volatility.log_terms(panel, origins, panel.symbol_index))
        log_terms = volatility.log_terms(panel, rows, panel.symbol_index)
        return cls(
            panel.symbols, input_length, output_length, tuple(scalers), indicators, volatility,
            _fit_log_volatility(log_terms, symbol, len(panel.symbols)),
            _fit_targets(panel, origins, output_length, sigma_bps),
        )  # fmt: skip

    @property
    def price_columns(self) -> tuple[ColumnScaler, ...]:
        return tuple(column for column in self.columns if column.scaler == "price_bps")

    @property
    def row_columns(self) -> tuple[ColumnScaler, ...]:
        return tuple(column for column in self.columns if column.scaler != "price_bps")

    @property
    def row_inputs(self) -> tuple[str, ...]:
        """Names of the V inputs that are scaled row by row: columns, indicators of undefined values, volatilities."""
        return (
            *(column.name for column in self.row_columns),
            *(f"undefined_{family}" for family in self.indicators),
            *(column.name for column in self.volatility_columns),
        )

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def symbol_positions(self, panel: Panel) -> IntArray:
        """(n,) position of each row's symbol here. Raises DataError for a symbol that was not trained on."""
        unknown = [symbol for symbol in panel.symbols if symbol not in self.symbols]
        if unknown:
            raise DataError(
                f"symbols {', '.join(unknown)}: expected those the model was trained on, {', '.join(self.symbols)}; "
                "choose with --symbols or train again"
            )
        return np.array([self.symbols.index(symbol) for symbol in panel.symbols], dtype=np.int64)[panel.symbol_index]

    def target_scale_bps(self, panel: Panel, origins: IntArray) -> FloatArray:
        """(w, H) unit of the scaled targets of each window: the HAR volatility at its origin times `target_unit`.

        Reads nothing after the origins. Raises DataError for a symbol that was not trained on.
        """
        symbol = self.symbol_positions(panel)
        sigma_bps = self.volatility.sigma_bps(self.volatility.log_terms(panel, origins, symbol))
        result: FloatArray = sigma_bps[:, None] * np.array(self.target_unit)[symbol[origins]]
        return result

    def transform(self, panel: Panel) -> ScaledRows:
        """All rows, scaled. Raises DataError for a symbol that was not trained on."""
        symbol = self.symbol_positions(panel)
        inputs = large_array((len(panel), len(self.row_inputs)), np.float32)
        for position, column in enumerate(self.row_columns):
            center, scale, offset = (np.array(x)[symbol] for x in (column.center, column.scale, column.offset))
            z = (_curve(column.scaler, _raw(panel, column.name, column.neutral), offset) - center) / scale
            if column.neutral is None:
                undefined = panel.kinds[:, panel.feature_names.index(column.name)] == NullKind.UNDEFINED
                z = np.where(undefined, 0.0, z)
            inputs[:, position] = np.clip(z, -CLIP, CLIP)
        for position, names in enumerate(self.indicators.values(), start=len(self.row_columns)):
            kinds = panel.kinds[:, panel.positions(names)]
            inputs[:, position] = (kinds == NullKind.UNDEFINED).any(axis=1)
        log_terms = self.volatility.log_terms(panel, np.arange(len(panel)), symbol)
        for k, column in enumerate(self.volatility_columns):
            z = (log_terms[:, k] - np.array(column.center)[symbol]) / np.array(column.scale)[symbol]
            inputs[:, inputs.shape[1] - len(self.volatility_columns) + k] = np.clip(z, -CLIP, CLIP)
        prices = [1e4 * np.log(_raw(panel, column.name, column.neutral)) for column in self.price_columns]
        log_prices = np.stack(prices, axis=1) if prices else np.empty((len(panel), 0))
        return ScaledRows(inputs, log_prices, 1e4 * np.log(panel.price), symbol)

    def to_json(self) -> str:
        return json.dumps({"version": NORMALIZER_VERSION} | asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises SchemaError for another version."""
        stored: dict[str, Any] = json.loads(text)
        version = stored.pop("version", None)
        if version != NORMALIZER_VERSION:
            raise SchemaError(
                f"normalizer: expected version {NORMALIZER_VERSION}, found {version}; train the model again"
            )
        volatility: dict[str, Any] = stored["volatility"]
        volatility |= {name: tuple(volatility[name]) for name in ("typical_bps", "coefficients")}
        return cls(
            symbols=tuple(stored["symbols"]),
            input_length=stored["input_length"],
            output_length=stored["output_length"],
            columns=_columns_of(stored["columns"]),
            indicators={family: tuple(names) for family, names in stored["indicators"].items()},
            volatility=HarVolatility(**volatility),
            volatility_columns=_columns_of(stored["volatility_columns"]),
            target_unit=tuple(tuple(row) for row in stored["target_unit"]),
        )


def _columns_of(stored: list[dict[str, Any]]) -> tuple[ColumnScaler, ...]:
    lists = ("center", "scale", "offset")
    return tuple(ColumnScaler(**{**column, **{name: tuple(column[name]) for name in lists}}) for column in stored)
