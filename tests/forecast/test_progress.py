from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from midas_ray.forecast.display import TrainingDisplay
from midas_ray.forecast.training_progress import TrainingProgress


def at(epoch: int, batch: int, validation_loss: float | None) -> TrainingProgress:
    step = (epoch - 1) * 4 + batch
    return TrainingProgress(epoch, 3, batch, 4, step, 1.0 / step, validation_loss, float(step))


def test_a_line_an_epoch_and_curves_for_tensorboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingDisplay(tmp_path) as display:
        for progress in (at(1, 2, None), at(1, 4, 0.5), at(2, 3, None), at(2, 4, 0.25), at(3, 4, 0.75)):
            display(progress)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "epoch 1/3  train loss 0.2500  validation loss 0.5000 (best)  4 steps, 4 s",
        "epoch 2/3  train loss 0.1250  validation loss 0.2500 (best)  8 steps, 8 s",
        "epoch 3/3  train loss 0.0833  validation loss 0.7500  12 steps, 12 s",
    ]
    assert [progress.epoch for progress in display.epochs] == [1, 2, 3]
    curves = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in curves.Scalars("loss/validation")] == [
        (4, 0.5),
        (8, 0.25),
        (12, 0.75),
    ]
    assert [event.step for event in curves.Scalars("loss/train")] == [2, 4, 7, 8, 12]
