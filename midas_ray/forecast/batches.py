"""Windows as batches of tensors, cut by one gather instead of per-sample Python.

The dictionaries have the keys and shapes that pytorch-forecasting's `TimeSeriesDataSet` would give.
Legend: n rows of the panel, w windows, B batch, L input buckets, H horizons, R reals.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from midas_ray.dataset.mapped import large_array
from midas_ray.dataset.panel import FloatArray, IntArray, Panel
from midas_ray.dataset.scaling import CLIP, Normalizer
from midas_ray.dataset.windows import targets_bps
from midas_ray.errors import DataError
from midas_ray.features.calendar import day_angle

KNOWN_AHEAD = {"hour_sin": np.sin, "hour_cos": np.cos}
"""The features that are known for the future, as functions of the day's angle."""
RELATIVE_TIME = "relative_time"
"""Input made here: pytorch-forecasting's `relative_time_idx`, buckets from the first forecast one, in input lengths."""

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]


def decoder_reals(normalizer: Normalizer) -> tuple[str, ...]:
    """Inputs that are known for the future."""
    return (*(name for name in KNOWN_AHEAD if name in normalizer.column_names), RELATIVE_TIME)


def encoder_reals(normalizer: Normalizer) -> tuple[str, ...]:
    """Names of the R inputs, in the order of the tensors."""
    return (
        *normalizer.row_inputs,
        *(column.name for column in normalizer.price_columns),
        RELATIVE_TIME,
    )


@dataclass(frozen=True, slots=True)
class WindowSet(Dataset[Batch]):
    """The windows at some origins of a panel, scaled. Indexed by a tensor of window numbers, it gives a batch.

    Holds plain arrays, so that Ray ships it to workers without a copy.
    """

    normalizer: Normalizer
    inputs: npt.NDArray[np.float32]
    """(n, R) as in `ScaledRows`, then room for what depends on the origin: prices and the relative time."""
    known_places: tuple[tuple[str, int], ...]
    """Names of the inputs that are known for the future, and their places among the R."""
    log_prices: FloatArray
    log_reference: FloatArray
    symbol: IntArray
    ts_us: IntArray
    bucket_us: int
    origins: IntArray
    """(w,)"""
    target_scale_bps: FloatArray
    """(w, H) unit of each window's targets."""
    targets: npt.NDArray[np.float32]
    """(w, H) in these units; empty (w, 0) where the future is not known."""

    @classmethod
    def cut(cls, panel: Panel, origins: IntArray, normalizer: Normalizer, with_targets: bool = True) -> Self:
        """Scale the panel. Raises DataError where a window holds a gap or warm-up null, or a row of another stretch."""
        rows = normalizer.transform(panel)
        scale = normalizer.target_scale_bps(panel, origins)
        empty = np.empty((len(origins), 0), dtype=np.float32)
        horizons = normalizer.output_length
        targets = (targets_bps(panel, origins, horizons) / scale).astype(np.float32) if with_targets else empty
        names = encoder_reals(normalizer)
        inputs = large_array((len(panel), len(names)), np.float32)
        inputs[:, : rows.inputs.shape[1]] = rows.inputs
        windows = cls(
            normalizer=normalizer,
            inputs=inputs,
            known_places=tuple((name, names.index(name)) for name in decoder_reals(normalizer)),
            log_prices=rows.log_prices,
            log_reference=rows.log_reference,
            symbol=rows.symbol,
            ts_us=panel.ts_us,
            bucket_us=panel.bucket_us,
            origins=origins,
            target_scale_bps=scale,
            targets=targets,
        )
        windows._check()
        return windows

    def __len__(self) -> int:
        return len(self.origins)

    def _check(self) -> None:
        length = self.normalizer.input_length
        if len(self.origins) and (self.origins.min() < length - 1 or self.origins.max() >= len(self.ts_us)):
            raise DataError(f"windows: expected {length} rows before each origin, found fewer")
        first, last = self.origins - length + 1, self.origins
        steps = self.ts_us[last] - self.ts_us[first]
        bad_rows = np.isnan(self.inputs).any(axis=1) | np.isnan(self.log_prices).any(axis=1)
        bad_before = np.concatenate([[0], np.cumsum(bad_rows | np.isnan(self.log_reference))])
        apart = (steps != (length - 1) * self.bucket_us) | (self.symbol[last] != self.symbol[first])
        wrong = apart | (bad_before[last + 1] != bad_before[first])
        if wrong.any() or np.isnan(self.targets).any():
            raise DataError(
                f"windows: expected {length} consecutive buckets without gap or warm-up nulls in the model's columns, "
                f"found {int(wrong.sum())} of {len(wrong)} windows with some; take origins from window_origins"
            )

    def __getitem__(self, numbers: npt.ArrayLike) -> Batch:
        """The windows of these numbers (B,): inputs for the network, and targets (B, H)."""
        picked = np.asarray(numbers, dtype=np.int64)
        origin = self.origins[picked]
        length, horizons = self.normalizer.input_length, self.normalizer.output_length
        encoder = self._encoder(origin)
        symbol = torch.from_numpy(self.symbol[origin])[:, None, None]
        target = torch.from_numpy(self.targets[picked])
        x = {
            "encoder_cont": torch.from_numpy(encoder),
            "decoder_cont": torch.from_numpy(self._decoder(origin)),
            "encoder_cat": symbol.expand(-1, length, 1),
            "decoder_cat": symbol.expand(-1, horizons, 1),
            "encoder_target": torch.from_numpy(self._past_targets(origin, picked)),
            "decoder_target": target,
            "encoder_lengths": torch.full((len(origin),), length),
            "decoder_lengths": torch.full((len(origin),), horizons),
            "target_scale": torch.tensor([[0.0, 1.0]]).expand(len(origin), 2),
        }
        return x, target

    def _stretches(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(n - L + 1, L, ...) every stretch of L rows, without a copy: taking one is a single copy of memory."""
        length = self.normalizer.input_length
        shape = (len(array) - length + 1, length, *array.shape[1:])
        return np.lib.stride_tricks.as_strided(array, shape, (array.strides[0], *array.strides), writeable=False)

    def _encoder(self, origin: IntArray) -> npt.NDArray[np.float32]:
        """(B, L, R)"""
        length = self.normalizer.input_length
        first = origin - length + 1
        encoder: npt.NDArray[np.float32] = self._stretches(self.inputs)[first]
        encoder[:, :, -1] = np.arange(-length, 0, dtype=np.float32) / length
        columns = self.normalizer.price_columns
        if columns:
            # Prices in bps from P at the origin, then standardised; in float64 until the end.
            symbol = self.symbol[origin]
            center = np.array([column.center for column in columns]).T[symbol][:, None]
            scale = np.array([column.scale for column in columns]).T[symbol][:, None]
            bps = self._stretches(self.log_prices)[first] - self.log_reference[origin][:, None, None]
            encoder[:, :, -1 - len(columns) : -1] = np.clip((bps - center) / scale, -CLIP, CLIP)
        return encoder

    def _decoder(self, origin: IntArray) -> npt.NDArray[np.float32]:
        """(B, H, R) with what is known for the future; the other places are not read by the network."""
        ahead = np.arange(1, self.normalizer.output_length + 1)
        angle = day_angle(self.ts_us[origin][:, None] + ahead * self.bucket_us)
        result = np.zeros((len(origin), len(ahead), self.inputs.shape[1]), dtype=np.float32)
        for name, place in self.known_places:
            known = (ahead - 1) / self.normalizer.input_length if name == RELATIVE_TIME else KNOWN_AHEAD[name](angle)
            result[:, :, place] = known
        return result

    def _past_targets(self, origin: IntArray, picked: IntArray) -> npt.NDArray[np.float32]:
        """(B, L) the target's formula for h <= 0, in units of the first horizon."""
        past = self._stretches(self.log_reference)[origin - self.normalizer.input_length + 1]
        result: npt.NDArray[np.float32] = (
            (past - self.log_reference[origin][:, None]) / self.target_scale_bps[picked, :1]
        ).astype(np.float32)
        return result


class WithUnits(Dataset[tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]]):
    """The same batches with the unit of each target (B, H) in bps: what it takes to tell a loss in bps."""

    def __init__(self, windows: WindowSet) -> None:
        self._windows = windows

    def __getitem__(self, numbers: npt.ArrayLike) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
        picked = np.asarray(numbers, dtype=np.int64)
        unit_bps = self._windows.target_scale_bps[picked].astype(np.float32)
        return (*self._windows[picked], torch.from_numpy(unit_bps))


def batches_of(windows: int, batch_size: int, world: int = 1) -> int:
    """Steps of an epoch in which `world` workers share every batch equally; 0 where there is not a window for each."""
    return -(-(windows // world) // max(1, batch_size // world))


class WindowSampler(Sampler[torch.Tensor]):
    """Window numbers of one worker, a batch at a time, reshuffled every epoch.

    A batch of `batch_size` windows is shared out: every rank gets equally many of each, so that the mean of the ranks'
    gradients is that of the batch, and `world` workers take the steps that one would. Up to `world` - 1 windows of an
    epoch stay out, others in the next. Lightning calls `set_epoch`, also after a resume: an epoch's order depends on
    (seed, epoch) alone.
    """

    def __init__(
        self, windows: int, batch_size: int, seed: int, rank: int = 0, world: int = 1, most_batches: int | None = None
    ) -> None:
        self._windows, self._seed, self._rank, self._world = windows, seed, rank, world
        self._share = max(1, batch_size // world)
        batches = batches_of(windows, batch_size, world)
        self._batches = min(batches, most_batches) if most_batches else batches
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[torch.Tensor]:
        order = self._order()
        for batch in range(self._batches):
            yield order[batch * self._share : (batch + 1) * self._share]

    def numbers(self, epoch: int, batch: int) -> torch.Tensor:
        """The windows of a batch (from 0) of an epoch (from 0)."""
        kept, self._epoch = self._epoch, epoch
        picked = self._order()[batch * self._share : (batch + 1) * self._share]
        self._epoch = kept
        return picked

    def _order(self) -> torch.Tensor:
        """This rank's windows of the epoch: of each `world` that follow each other, one."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(self._windows, generator=generator)[self._rank :: self._world]
        return order[: self._windows // self._world]


class InOrder(Sampler[torch.Tensor]):
    """Window numbers of one worker in order, for validation and prediction."""

    def __init__(self, windows: int, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self._numbers = torch.arange(windows)[rank::world]
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._numbers) // self._batch_size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from self._numbers.split(self._batch_size)


def batch_loader(windows: WindowSet | WithUnits, sampler: Sampler[torch.Tensor]) -> DataLoader[Any]:
    """A loader that asks `windows` for whole batches."""
    return DataLoader(windows, sampler=sampler, batch_size=None)
