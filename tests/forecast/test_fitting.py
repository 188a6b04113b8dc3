from pathlib import Path

import numpy as np
import pytest
import torch

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.windows import targets_bps
from midas_ray.errors import DataError, TooFewRowsError
from midas_ray.features.nulls import NullKind
from midas_ray.forecast.baselines.trailing import trailing_quantiles_bps
from midas_ray.forecast.fitting import fit
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.forecast.scores import pinball_loss_bps
from midas_ray.forecast.training_progress import TrainingProgress
from midas_ray.forecast.training_set import Schedule, new_module, prepare
from midas_ray.setting_values import REPORTED_QUANTILES as QUANTILES
from tests.dataset.synthetic import rebuilt, synthetic_panel, with_nulls
from tests.forecast.planted import COLUMNS, HORIZON, planted_panel, small_network, split_of


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def loss_against_baseline(panel: Panel, forecaster: Forecaster, origins: np.ndarray) -> np.ndarray:
    """(H,) mean pinball loss as a share of that of zero return with trailing quantiles."""
    taus = np.array(QUANTILES)
    actual = targets_bps(panel, origins, HORIZON)
    model = pinball_loss_bps(actual, forecaster.predict(panel, origins), taus)
    baseline = pinball_loss_bps(actual, trailing_quantiles_bps(panel, origins, HORIZON, taus, 500), taus)
    return model.mean(axis=(0, 2)) / baseline.mean(axis=(0, 2))


def test_a_planted_signal_is_learnt(tmp_path: Path) -> None:
    panel = planted_panel(1600)
    split = split_of(panel)
    forecaster = fit(panel, split.train, split.validation, small_network(epochs=15), tmp_path, columns=COLUMNS)
    share = loss_against_baseline(panel, forecaster, split.test)
    assert share[0] < 0.5  # the next move is known up to a tenth
    assert share[1] < 0.9  # half of the variance of two moves is known


def test_without_a_signal_there_is_no_skill(tmp_path: Path) -> None:
    panel = planted_panel(shuffled=True)
    split = split_of(panel)
    forecaster = fit(panel, split.train, split.validation, small_network(epochs=12), tmp_path, columns=COLUMNS)
    assert loss_against_baseline(panel, forecaster, split.test).min() > 0.95


def test_nothing_fitted_sees_validation_or_test(tmp_path: Path) -> None:
    panel = planted_panel(300)
    split = split_of(panel)
    changed = panel.values.copy()
    # One epoch: there is no best one to choose, which is all that validation is for.
    network = small_network(epochs=1)
    changed[split.train.max() + HORIZON + 1 :] *= 1.5
    found = fit(rebuilt(panel, changed), split.train, split.validation, network, tmp_path / "b", columns=COLUMNS)
    expected = fit(panel, split.train, split.validation, network, tmp_path / "a", columns=COLUMNS)
    assert found.normalizer.to_json() == expected.normalizer.to_json()
    assert_same_weights(found, expected)
    changed[split.train.max()] *= 1.5
    other = fit(rebuilt(panel, changed), split.train, split.validation, network, tmp_path / "c", columns=COLUMNS)
    assert other.normalizer.to_json() != expected.normalizer.to_json()


def test_the_chosen_epoch_depends_on_validation_but_never_on_test(tmp_path: Path) -> None:
    panel = planted_panel(300)
    split = split_of(panel)
    changed = panel.values.copy()
    changed[split.validation.max() + HORIZON + 1 :] *= 1.5
    network = small_network(epochs=3)
    found = fit(rebuilt(panel, changed), split.train, split.validation, network, tmp_path / "b", columns=COLUMNS)
    assert_same_weights(found, fit(panel, split.train, split.validation, network, tmp_path / "a", columns=COLUMNS))


def assert_same_weights(found: Forecaster, expected: Forecaster) -> None:
    assert found.weights.keys() == expected.weights.keys()
    for name, weight in expected.weights.items():
        torch.testing.assert_close(found.weights[name], weight, rtol=0, atol=0)


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    panel = planted_panel(200)
    split = split_of(panel)
    first, second = (
        fit(panel, split.train, split.validation, small_network(epochs=1, seed=seed), tmp_path, columns=COLUMNS)
        for seed in (1, 2)
    )
    assert any(not torch.equal(weight, second.weights[name]) for name, weight in first.weights.items())


def test_training_stops_when_validation_gets_no_better_and_keeps_the_best(tmp_path: Path) -> None:
    panel = planted_panel(200, shuffled=True)
    split = split_of(panel)
    seen: list[TrainingProgress] = []
    network = small_network(epochs=40, patience=2, learning_rate=0.1)
    forecaster = fit(panel, split.train, split.validation, network, tmp_path, columns=COLUMNS, report=seen.append)
    epochs = [progress for progress in seen if progress.validation_loss is not None]
    losses = [progress.validation_loss for progress in epochs]
    assert len(epochs) < 40
    assert len(epochs) == losses.index(min(losses)) + 1 + 2
    training = prepare(panel, split.train, split.validation, network, columns=COLUMNS)
    scale = forecaster.normalizer.target_scale_bps(panel, split.validation)
    predicted = forecaster.predict(panel, split.validation) / scale[:, :, None]
    taus = np.array(QUANTILES)
    loss = pinball_loss_bps(training.validation.targets.astype(np.float64), predicted, taus).mean()
    assert loss == pytest.approx(min(losses), rel=1e-4)


def test_the_untrained_network_forecasts_the_training_quantiles_about_zero() -> None:
    panel = planted_panel(200)
    split = split_of(panel)
    training = prepare(panel, split.train, split.validation, small_network(), columns=COLUMNS)
    x, target = training.train[np.arange(8)]
    out = new_module(training).network.eval()(x)["prediction"].detach().numpy()
    scaled = np.quantile(training.train.targets, QUANTILES) - np.median(training.train.targets)
    np.testing.assert_allclose(out, np.broadcast_to(scaled, out.shape), atol=1e-6)
    assert target.shape == (8, HORIZON)


@pytest.mark.parametrize(
    ("max_steps", "windows", "world", "expected"),
    [
        (None, 640, 1, (30, 10)),
        (25, 640, 1, (3, 8)),
        (7, 640, 1, (1, 7)),
        (20, 640, 1, (2, 10)),
        (None, 641, 2, (30, 10)),
        (1000, 640, 1, (30, 10)),
    ],
)
def test_max_steps_are_never_exceeded(
    max_steps: int | None, windows: int, world: int, expected: tuple[int, int]
) -> None:
    schedule = Schedule.of(small_network(epochs=30, max_steps=max_steps), windows, world)
    assert (schedule.epochs, schedule.batches) == expected
    assert max_steps is None or schedule.epochs * schedule.batches <= max_steps


def test_max_steps_in_a_real_training(tmp_path: Path) -> None:
    panel = planted_panel(300)
    split = split_of(panel)
    seen: list[TrainingProgress] = []
    network = small_network(epochs=9, batch_size=16, max_steps=15)
    fit(panel, split.train, split.validation, network, tmp_path, columns=COLUMNS, report=seen.append)
    assert [progress.step for progress in seen if progress.validation_loss is not None] == [7, 14]


def test_stride_thins_the_training_windows_only() -> None:
    panel = planted_panel(300)
    split = split_of(panel)
    training = prepare(panel, split.train, split.validation, small_network(stride=7), columns=COLUMNS)
    assert set(np.diff(training.train.origins)) == {7}
    assert len(training.validation) == len(split.validation)


def test_an_empty_part_is_refused() -> None:
    panel = planted_panel(300)
    with pytest.raises(TooFewRowsError, match="expected windows in the validation part, found none"):
        prepare(panel, split_of(panel).train, np.array([], dtype=np.int64), small_network(), columns=COLUMNS)


def test_a_symbol_without_training_windows_is_refused() -> None:
    panel = synthetic_panel(100, ("btcusdt", "ethusdt"))
    split = split_of(panel)
    train = split.train[panel.symbol_index[split.train] == 0]
    with pytest.raises(TooFewRowsError, match="symbols ethusdt: expected training windows, found none"):
        prepare(panel, train, split.validation, small_network(), columns=COLUMNS)


@pytest.mark.parametrize("kind", [NullKind.GAP, NullKind.WARM_UP])
def test_a_window_with_a_gap_is_refused_not_filled(kind: NullKind) -> None:
    panel = planted_panel(300)
    split = split_of(panel)
    broken = with_nulls(panel, "volume", slice(20, 21), kind)
    with pytest.raises(DataError, match=r"found 6 of .* windows with some"):
        prepare(broken, split.train, split.validation, small_network(), columns=COLUMNS)


def test_training_that_diverges_is_one_line(tmp_path: Path) -> None:
    panel = planted_panel(300)
    split = split_of(panel)
    network = small_network(epochs=1).model_copy(update={"learning_rate": 1e38})
    with pytest.raises(DataError, match="training diverged"):
        fit(panel, split.train, split.validation, network, tmp_path, columns=COLUMNS)


def test_bf16_trains_to_nearly_the_same(tmp_path: Path) -> None:
    panel = planted_panel(300)
    split = split_of(panel)
    full, half = (
        fit(
            panel,
            split.train,
            split.validation,
            small_network(precision=precision),
            tmp_path / precision,
            columns=COLUMNS,
        )
        for precision in ("float32", "bf16")
    )
    assert {weight.dtype for weight in half.weights.values()} == {torch.float32}
    a, b = (each.predict(panel, split.test, "cpu") for each in (full, half))
    assert np.abs(a - b).max() > 0
    np.testing.assert_allclose(a, b, atol=0.1 * np.abs(a).max())
