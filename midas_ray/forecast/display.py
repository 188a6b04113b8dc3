"""What is shown and kept of a running training: a line an epoch (a bar on a terminal) and TensorBoard scalars."""

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from midas_ray import console
from midas_ray.forecast.training_progress import TrainingProgress
from midas_ray.progress import LinesNowAndThen


class TrainingDisplay:
    """Shows progress to a person and writes TensorBoard logs into `log_dir`. A context manager; call it to report."""

    def __init__(self, log_dir: Path) -> None:
        self._writer = SummaryWriter(str(log_dir))
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console.err,
            disable=not console.err.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("training", total=None)
        self._best = float("inf")
        self._lines = LinesNowAndThen()
        self.epochs: list[TrainingProgress] = []
        """The last report of every epoch."""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._writer.close()

    def __call__(self, progress: TrainingProgress) -> None:
        at = f"epoch {progress.epoch}/{progress.epochs}"
        self._writer.add_scalar("loss/train", progress.train_loss, progress.step)
        self._bar.update(
            self._task,
            total=progress.epochs * progress.batches,
            completed=(progress.epoch - 1) * progress.batches + progress.batch,
            description=f"{at} batch {progress.batch}/{progress.batches} loss {progress.train_loss:.4f}",
        )
        self._writer.add_scalar("speed/windows_per_s", progress.windows_per_s, progress.step)
        if progress.validation_loss is None:
            self._lines.say(
                lambda: (
                    f"{at} batch {progress.batch}/{progress.batches}  train loss {progress.train_loss:.4f}  "
                    f"{progress.windows_per_s:,.0f} windows/s"
                )
            )
            return
        if any(known.epoch == progress.epoch for known in self.epochs):
            return  # a worker that resumes tells what it knows
        self.epochs.append(progress)
        self._writer.add_scalar("loss/validation", progress.validation_loss, progress.step)
        in_bps = ""
        if progress.validation_bps is not None:
            self._writer.add_scalar("loss/validation_bps", progress.validation_bps, progress.step)
            in_bps = f" ({progress.validation_bps:.3f} bps)"
        better = progress.validation_loss < self._best
        self._best = min(self._best, progress.validation_loss)
        console.err.print(
            f"{at}  train loss {progress.train_loss:.4f}  validation loss {progress.validation_loss:.4f}{in_bps}"
            f"{' (best)' if better else ''}  {progress.step} steps, {progress.seconds:.0f} s"
        )
