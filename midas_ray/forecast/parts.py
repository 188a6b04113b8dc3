"""From a panel to what one training uses: symbols, columns, windows, split."""

from dataclasses import dataclass

import numpy as np

from midas_ray.dataset.columns import ColumnChoice, choose_columns
from midas_ray.dataset.final_period import FinalPeriod, final_period, require_before
from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.dataset.splits import PART_NAMES, Split, first_rows, time_split
from midas_ray.dataset.windows import WindowCosts, require_windows, window_costs, window_origins
from midas_ray.settings import Audit, Train


@dataclass(frozen=True, slots=True)
class Parts:
    """The data of one training."""

    panel: Panel
    symbols_left_out: tuple[str, ...]
    """Symbols without a single training window."""
    choice: ColumnChoice
    costs: WindowCosts
    split: Split
    final: FinalPeriod | None
    """What was left out at the end."""

    def sentences(self) -> list[str]:
        """What a person should know before the training starts, a line each."""
        lines = [f"features of {', '.join(self.panel.symbols)}: {self.choice.sentence()}"]
        if self.symbols_left_out:
            names = ", ".join(self.symbols_left_out)
            lines.append(f"symbols left out: {names} (no training window without gap or warm-up)")
        lines.append(self.costs.sentence())
        lines += [f"{name:<11} {self._span(getattr(self.split, name))}" for name in PART_NAMES]
        for name in PART_NAMES:
            absent = absent_symbols(self.panel, getattr(self.split, name))
            if absent:
                lines.append(f"{', '.join(absent)}: no window in the {name} part; {CUT_TO_THE_SHORTEST}")
        if self.final is not None:
            first = np.datetime64(self.final.first_us, "us").astype("datetime64[s]")
            lines.append(f"final period from {first} UTC on is left alone (--final-share 0 trains on it too)")
        return lines

    def _span(self, origins: IntArray) -> str:
        ts_us = self.panel.ts_us[origins]
        first, last = (np.datetime64(int(ts), "us").astype("datetime64[s]") for ts in (ts_us.min(), ts_us.max()))
        return f"{len(origins)} windows, {first} to {last} UTC"


CUT_TO_THE_SHORTEST = "where symbols end on different days, --final-from the end of the shortest keeps all of them"


def absent_symbols(panel: Panel, origins: IntArray) -> tuple[str, ...]:
    """The symbols of the panel without an origin among these."""
    present = np.unique(panel.symbol_index[origins])
    return tuple(symbol for index, symbol in enumerate(panel.symbols) if index not in present)


def split_panel(panel: Panel, values: Train | Audit) -> Parts:
    """Columns are judged on the training time alone; the parts are purged by the horizon, and end before the final
    period. Raises TooFewRowsError.
    """
    return _split(panel, values, final_period(panel, values.final_share, values.final_from))


def _split(panel: Panel, values: Train | Audit, final: FinalPeriod | None) -> Parts:
    length, horizons = values.input_length, values.output_length
    require_windows(panel, window_origins(panel, length, horizons, ()), length, horizons, ())
    later_shares = values.validation_share + values.calibration_share + values.test_share
    training_rows = first_rows(panel, 1 - later_shares, None if final is None else final.first_us)
    choice = choose_columns(panel, training_rows, length, horizons)
    origins = window_origins(panel, length, horizons, choice.columns)
    require_windows(panel, origins, length, horizons, choice.columns)
    if final is not None:
        origins = final.before(panel, origins, horizons)
        require_before(origins)
    split = time_split(panel, origins, values.validation_share, values.test_share, horizons, values.calibration_share)
    trained = np.unique(panel.symbol_index[split.train])
    kept = tuple(panel.symbols[index] for index in trained)
    if kept != panel.symbols:
        parts = _split(panel.select(kept), values, final)
        left_out = tuple(symbol for symbol in panel.symbols if symbol not in parts.panel.symbols)
        return Parts(parts.panel, left_out, parts.choice, parts.costs, parts.split, final)
    return Parts(panel, (), choice, window_costs(panel, length, horizons, choice.columns), split, final)
