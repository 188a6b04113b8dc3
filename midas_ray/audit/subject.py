"""What the audit of the forecast works on: the panel, its parts, and the same panel with another future."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from midas_ray.audit.another_future import panel_with_another_future
from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.dataset.splits import Split
from midas_ray.forecast.baselines import Task
from midas_ray.forecast.parts import Parts, split_panel
from midas_ray.settings import Audit

MOST_FITTED = 3000
"""Windows that a baseline of the audit is fitted on: the last ones, and others evenly drawn."""
_DENSE = 100


@dataclass(frozen=True, slots=True)
class Subject:
    """One dataset under audit. Everything random comes from `seed`."""

    values: Audit
    parts: Parts

    @classmethod
    def of(cls, panel: Panel, values: Audit) -> Self:
        """Raises TooFewRowsError."""
        return cls(values, split_panel(panel, values))

    @property
    def panel(self) -> Panel:
        return self.parts.panel

    @property
    def columns(self) -> tuple[str, ...]:
        return self.parts.choice.columns

    @property
    def split(self) -> Split:
        return self.parts.split

    def thinned(self, origins: IntArray, most: int = MOST_FITTED) -> IntArray:
        """At most `most` of the origins, the last ones among them: a look ahead shows at the end of a part."""
        if len(origins) <= most:
            return origins
        spread = np.linspace(0, len(origins) - 1, most - min(_DENSE, most // 2)).astype(np.int64)
        chosen: IntArray = origins[np.union1d(spread, np.arange(len(origins) - min(_DENSE, most // 2), len(origins)))]
        return chosen

    def labels_end_us(self, origins: IntArray) -> int:
        """When the last outcome of these origins is known."""
        return int(self.panel.ts_us[origins].max()) + self.values.output_length * self.panel.bucket_us

    def other(self, cut_us: int, *, with_nulls: bool = False) -> Panel:
        """The panel with another future after the cut."""
        rng = np.random.default_rng([self.values.seed, cut_us % 2**32])
        return panel_with_another_future(self.panel, cut_us, rng, with_nulls=with_nulls)

    def task(self, panel: Panel) -> Task:
        """What a baseline is fitted on."""
        return Task(
            panel=panel,
            train=self.thinned(self.split.train),
            validation=self.thinned(self.split.validation),
            columns=self.columns,
            quantiles=self.values.quantiles,
            input_length=self.values.input_length,
            output_length=self.values.output_length,
            seed=self.values.seed,
        )
