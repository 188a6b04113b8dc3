"""The recent feature rows of every symbol, and the panel that the model reads.

A row that was published again takes the place of the one before. Rows further back than any window or volatility can
reach are forgotten.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from midas_ray.dataset.panel import Panel, make_panel
from midas_ray.dataset.volatility import HAR_WINDOWS
from midas_ray.features.column import KindArray
from midas_ray.features.statistics import FloatArray
from midas_ray.live.publication import Publication

SLACK = 240
"""Rows kept beyond what is read, as not every bucket has a return."""


@dataclass(frozen=True, slots=True)
class Row:
    """One bucket of one symbol: (72,) values and kinds."""

    values: FloatArray
    kinds: KindArray


@dataclass(slots=True)
class Histories:
    """Rows by symbol and end of bucket."""

    venue: str
    bucket_ms: int
    price_source: str
    input_length: int
    _rows: dict[str, dict[int, Row]] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Rows a symbol that a forecast can depend on."""
        return self.input_length + max(HAR_WINDOWS) + SLACK

    def add_panel(self, panel: Panel) -> None:
        """Take over rows of the feature table, where none is known yet: what was published live is never older."""
        for index, symbol in enumerate(panel.symbols):
            own = self._rows.setdefault(symbol, {})
            for row in np.flatnonzero(panel.symbol_index == index)[-self.kept :]:
                own.setdefault(int(panel.ts_us[row]), Row(panel.values[row], panel.kinds[row]))
            self._forget(own)

    def add(self, publications: Iterable[Publication]) -> None:
        """Take over published buckets, the last of each."""
        for publication in publications:
            own = self._rows.setdefault(publication.symbol, {})
            own[publication.ts_us] = Row(publication.values, publication.kinds)
            self._forget(own)

    def holes(self, symbol: str) -> tuple[int, int]:
        """How many buckets are missing among the last `kept` of a symbol, and the end of the newest missing one, us.

        Returns over them are not known to the volatility, so that forecasts differ from those of a whole history.
        """
        times = sorted(self._rows.get(symbol, {}))[-self.kept :]
        bucket_us = self.bucket_ms * 1000
        missing, newest = 0, 0
        for before, after in itertools.pairwise(times):
            skipped = (after - before) // bucket_us - 1
            if skipped:
                missing, newest = missing + skipped, after - bucket_us
        return missing, newest

    def _forget(self, own: dict[int, Row]) -> None:
        if len(own) > 2 * self.kept:
            for ts_us in sorted(own)[: -self.kept]:
                del own[ts_us]

    def panel(self, symbols: Iterable[str]) -> Panel:
        """The rows of these symbols that have any, sorted by (symbol, ts)."""
        known = tuple(symbol for symbol in sorted(symbols) if self._rows.get(symbol))
        times = {symbol: sorted(self._rows[symbol])[-self.kept :] for symbol in known}
        rows = [self._rows[symbol][ts_us] for symbol in known for ts_us in times[symbol]]
        return make_panel(
            venue=self.venue,
            symbols=known,
            symbol_index=np.repeat(np.arange(len(known)), [len(times[symbol]) for symbol in known]),
            ts_us=np.array([ts_us for symbol in known for ts_us in times[symbol]], dtype=np.int64),
            values=np.array([row.values for row in rows]),
            kinds=np.array([row.kinds for row in rows], dtype=np.uint8),
            bucket_ms=self.bucket_ms,
            price_source=self.price_source,
        )
