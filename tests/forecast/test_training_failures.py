"""What ends a training: a loss that is not finite, too little memory. One line says what to lower."""

import os
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from midas_ray.errors import DataError, UsageError
from midas_ray.forecast.batches import WindowSampler
from midas_ray.forecast.fitting import fit, quiet_lightning, trainer_options
from midas_ray.forecast.memory import is_out_of_memory, out_of_memory_explained
from midas_ray.forecast.metrics import GAUGES, levels
from midas_ray.forecast.training_progress import TrainingProgress
from midas_ray.forecast.training_set import (
    Schedule,
    TrainingSet,
    loaders,
    new_module,
    prepare,
    sampler_of,
    without_families,
)
from midas_ray.settings import Train, parse_settings
from tests.forecast.planted import COLUMNS, planted_panel, small_network, split_of


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def training_set(rows: int = 300, **changes: object) -> TrainingSet:
    panel = planted_panel(rows)
    split = split_of(panel)
    return prepare(panel, split.train, split.validation, small_network(**changes), columns=COLUMNS)


def test_a_loss_that_is_not_finite_names_epoch_batch_and_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = planted_panel(300)
    split = split_of(panel)
    network = small_network(epochs=3, batch_size=16, learning_rate=0.02)
    training = prepare(panel, split.train, split.validation, network, columns=COLUMNS)
    sampler = sampler_of(training, Schedule.of(network, len(training.train)))
    batch = len(sampler) - 2
    bad = int(training.train.origins[sampler.numbers(0, batch)[3]])
    cut = type(training.train).cut

    def poisoned(panel_: object, origins: np.ndarray, normalizer: object, with_targets: bool = True) -> object:
        windows = cut(panel_, origins, normalizer, with_targets)
        if bad in origins:
            windows.targets[np.flatnonzero(origins == bad)[0]] = np.inf
        return windows

    monkeypatch.setattr("midas_ray.forecast.training_set.WindowSet.cut", poisoned)
    with pytest.raises(DataError) as caught:
        fit(panel, split.train, split.validation, network, tmp_path, columns=COLUMNS)
    assert str(caught.value).startswith(f"training diverged in epoch 1, batch {batch + 1} of {batch + 2} (")
    assert "(16 windows of btcusdt, origins 2026-01-05T" in str(caught.value)
    assert str(caught.value).endswith("expected a finite loss, found inf; lower --learning-rate from 0.02 to 0.002")


def resumable(training: TrainingSet, save_to: Path | None, resume: Path | None) -> list[TrainingProgress]:
    seen: list[TrainingProgress] = []
    schedule = Schedule.of(training.network, len(training.train))
    sampler = sampler_of(training, schedule)
    options = trainer_options(training, schedule, sampler, seen.append)

    class Save(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
            trainer.save_checkpoint(save_to / f"{trainer.current_epoch + 1}.ckpt")

    if save_to is not None:
        options["callbacks"].append(Save())
    with quiet_lightning():
        trainer = pl.Trainer(accelerator="cpu", devices=1, **options)
        trainer.fit(new_module(training), *loaders(training, sampler), ckpt_path=resume, weights_only=True)
    return [each for each in seen if each.validation_loss is not None]


def test_a_resumed_training_is_the_undisturbed_one_bit_for_bit(tmp_path: Path) -> None:
    """Shuffling and dropout are drawn from seed, epoch and rank; early stopping knows what it had seen."""
    training = training_set(epochs=30, patience=2, dropout=0.2, learning_rate=0.05)
    whole = resumable(training, tmp_path, None)
    assert 3 < len(whole) < 30
    for epoch in (1, len(whole) - 1, len(whole)):
        resumed = resumable(training, None, tmp_path / f"{epoch}.ckpt")
        losses = [
            [(each.epoch, each.step, each.train_loss, each.validation_loss) for each in run] for run in (resumed, whole)
        ]
        assert losses[0] == losses[1]


def test_what_counts_as_out_of_memory() -> None:
    said = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
    assert is_out_of_memory(RuntimeError(said))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory_explained(training_set(), "cpu"):
        raise RuntimeError("shapes")


LIMITED = """
import resource, sys
import torch
torch.set_num_threads(1)
from pathlib import Path
from midas_ray.errors import MidasError
from midas_ray.forecast.fitting import fit
from tests.forecast.planted import COLUMNS, planted_panel, small_network, split_of

panel = planted_panel(6000)
split = split_of(panel)
network = dict(epochs=1, hidden_dim=64, input_length=6, max_steps=1)
fit(panel, split.train, split.validation, small_network(batch_size=8, **network), Path("w"), columns=COLUMNS)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 160 * 2**20,) * 2)
try:
    asked = small_network(batch_size=int(sys.argv[1]), **network)
    fit(panel, split.train, split.validation, asked, Path("w"), columns=COLUMNS)
except MidasError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def limited(batch_size: int) -> str:
    """Train in a process that may take 160 MB more than it has; what it says in the end."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LIMITED, str(batch_size)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False).stderr


@pytest.mark.long
def test_too_little_memory_says_which_batch_size_fits_and_that_one_does() -> None:
    (line,) = [line for line in limited(4096).splitlines() if line.startswith("MemoryLimitError")]
    asked = (
        "MemoryLimitError: out of memory: --batch-size 4096, --hidden-dim 64, --input-length 6 do not fit; a step with "
    )
    assert line.startswith(asked + "--batch-size ")
    fits = int(line.removeprefix(asked + "--batch-size ").split()[0])
    assert 1 <= fits < 4096
    assert "MemoryLimitError" not in limited(fits)


def test_workers_take_the_steps_of_one() -> None:
    one = WindowSampler(404, 16, seed=3)
    two = [WindowSampler(404, 16, seed=3, rank=rank, world=2) for rank in range(2)]
    for sampler in (one, *two):
        sampler.set_epoch(5)
    for whole, first, second in zip(one, *two, strict=True):
        assert sorted(whole.tolist()) == sorted(first.tolist() + second.tolist())
        assert len(first) == len(second)


def test_a_batch_smaller_than_the_workers_is_refused() -> None:
    with pytest.raises(UsageError, match="--batch-size 2: expected a window for each of 3 workers"):
        Schedule.of(small_network(batch_size=2), 100, 3)


def test_families_are_left_out_by_name() -> None:
    assert without_families(("ofi", "vpin", "volume"), ("impact",)) == ("ofi", "volume")
    with pytest.raises(UsageError, match="--without-families tea: expected some of bars, trade_flow, "):
        without_families(("ofi",), ("tea",))
    with pytest.raises(UsageError, match="expected columns of other families, found none"):
        without_families(("ofi",), ("order_flow",))
    training = training_set(without_families=("order_flow", "calendar"))
    assert training.train.normalizer.column_names == ("volume", "microprice", "returns")


def test_the_gauges_of_a_training() -> None:
    progress = TrainingProgress(2, 3, 1, 4, 5, 0.5, None, 1.0)
    known = {"train_loss": 0.5, "epoch": 2.0, "epochs": 3.0, "epoch_share": 0.25, "windows_per_s": 0.0}
    assert levels(progress) == known
    ended = TrainingProgress(2, 3, 4, 4, 8, 0.5, 0.25, 1.0, 3.5, 100.0)
    whole = {"epoch_share": 1.0, "windows_per_s": 100.0, "val_loss": 0.25, "val_loss_bps": 3.5}
    assert levels(ended) == known | whole
    assert set(GAUGES) - set(levels(ended)) == {"train_workers"}


@pytest.mark.parametrize(("text", "expected"), [("3", (3, 3)), ("1-4", (1, 4))])
def test_workers_on_the_command_line(text: str, expected: tuple[int, int]) -> None:
    assert parse_settings(Train, "train", ["--workers", text]).workers == expected
    assert Train(workers=expected).workers == expected


@pytest.mark.parametrize("text", ["0", "4-1", "many", "1-2-3"])
def test_workers_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="midas train: --workers: expected "):
        parse_settings(Train, "train", ["--workers", text])
