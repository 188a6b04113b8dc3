"""Which feature columns a model gets, and in plain words why the others are left out."""

from dataclasses import dataclass

import numpy as np

from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.dataset.windows import usable_rows, window_origins
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURES

MOST = 0.5
"""A column goes when more than this share of its training rows is null, or of the windows is lost to it alone."""


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """Model inputs in registry order, and the reason for each column left out."""

    columns: tuple[str, ...]
    left_out: dict[str, str]

    def sentence(self) -> str:
        """One line that names every column left out."""
        if not self.left_out:
            return f"{len(self.columns)} columns, none left out"
        reasons: dict[str, list[str]] = {}
        for name, reason in self.left_out.items():
            reasons.setdefault(reason, []).append(name)
        named = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
        return f"{len(self.columns)} columns; left out: {named}"


def _reason_by_rows(values: np.ndarray, kinds: np.ndarray) -> str | None:
    """Why a column is of no use on the training rows alone, or None."""
    null = kinds != NullKind.VALUE
    if null.all():
        return "absent: the data has none" if (kinds == NullKind.GAP).any() else "null in every training row"
    if null.mean() > MOST:
        return "more than half null in training"
    known = values[~null]
    return "constant in training" if known.min() == known.max() else None


def choose_columns(panel: Panel, rows: IntArray, input_length: int, output_length: int) -> ColumnChoice:
    """The columns to train on, judged on the training `rows` alone (row indices).

    Left out: what the registry does not call a model input, what the data lacks, what is constant or more than half
    null in training, and a column whose own gaps and warm-up cost more than half of the windows that the prices
    allow: one such column would take the data from all others, and nothing is ever filled in its place.
    """
    left_out: dict[str, str] = {}
    inside = np.zeros(len(panel), dtype=np.bool_)
    inside[rows] = True

    def windows(columns: tuple[str, ...]) -> int:
        return int(inside[window_origins(panel, input_length, output_length, columns)].sum())

    by_price = windows(())
    for position, feature in enumerate(FEATURES):
        if not feature.model_input:
            left_out[feature.name] = "not a model input"
            continue
        reason = _reason_by_rows(panel.values[rows, position], panel.kinds[rows, position])
        if reason is None and not usable_rows(panel, (feature.name,))[rows].all():
            lost = by_price - windows((feature.name,))
            if lost > MOST * by_price:
                reason = "its gaps and warm-up cost more than half of the training windows"
        if reason is not None:
            left_out[feature.name] = reason
    return ColumnChoice(tuple(f.name for f in FEATURES if f.name not in left_out), left_out)
