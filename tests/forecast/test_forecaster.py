from pathlib import Path

import numpy as np
import pytest
import torch

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.windows import window_origins
from midas_ray.errors import CorruptFileError, DataError, SchemaError, UsageError
from midas_ray.forecast.fitting import fit
from midas_ray.forecast.forecaster import MODEL_FILE, Forecaster
from tests.dataset.synthetic import rebuilt, take
from tests.forecast.planted import COLUMNS, HORIZON, LENGTH, planted_panel, small_network, split_of


@pytest.fixture(scope="module")
def panel() -> Panel:
    return planted_panel(200)


@pytest.fixture(scope="module")
def forecaster(panel: Panel, tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    torch.set_num_threads(1)
    split = split_of(panel)
    folder = tmp_path_factory.mktemp("work")
    return fit(panel, split.train, split.validation, small_network(dropout=0.2), folder, columns=COLUMNS)


@pytest.fixture
def origins(panel: Panel) -> np.ndarray:
    return window_origins(panel, LENGTH, HORIZON, COLUMNS)


def test_a_loaded_model_gives_identical_predictions(
    panel: Panel, forecaster: Forecaster, origins: np.ndarray, tmp_path: Path
) -> None:
    forecaster.save(tmp_path)
    for name in tmp_path.glob("*.json"):
        name.unlink()  # best_model.pt alone is enough
    loaded = Forecaster.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(panel, origins), forecaster.predict(panel, origins))
    assert loaded.normalizer == forecaster.normalizer
    assert (loaded.columns, loaded.quantiles) == (COLUMNS, (0.1, 0.5, 0.9))
    assert loaded.fit_end_us == forecaster.fit_end_us


def test_the_fit_ends_with_the_last_validation_label(panel: Panel, forecaster: Forecaster) -> None:
    assert forecaster.fit_end_us == panel.ts_us[split_of(panel).validation.max() + HORIZON]


def test_predictions_do_not_depend_on_their_company(panel: Panel, forecaster: Forecaster, origins: np.ndarray) -> None:
    together = forecaster.predict(panel, origins)
    alone = np.concatenate([forecaster.predict(panel, origins[i : i + 1]) for i in (0, 5, 90)])
    np.testing.assert_allclose(alone, together[[0, 5, 90]], rtol=1e-4, atol=1e-5)
    assert together.shape == (len(origins), HORIZON, 3)
    assert together.dtype == np.float64


def test_predictions_depend_on_nothing_after_the_origin(panel: Panel, forecaster: Forecaster) -> None:
    origin = np.array([100])
    expected = forecaster.predict(panel, origin)
    values = panel.values.copy()
    values[101:] *= 2
    np.testing.assert_array_equal(forecaster.predict(rebuilt(panel, values), origin), expected)
    live = take(panel, np.arange(101))  # the newest row: no future is known
    np.testing.assert_array_equal(forecaster.predict(live, origin), expected)


def test_quantiles_never_cross_whatever_the_weights(panel: Panel, forecaster: Forecaster, origins: np.ndarray) -> None:
    weights = {name: weight.clone() for name, weight in forecaster.weights.items()}
    weights["output_layer.bias"] = torch.tensor([1.0, 0.0, -1.0])
    crossing = Forecaster(**{name: getattr(forecaster, name) for name in Forecaster.__slots__} | {"weights": weights})
    predicted = crossing.predict(panel, origins)
    assert (np.diff(predicted, axis=2) >= 0).all()
    assert predicted[0, 0, 0] < predicted[0, 0, 2]


def test_predictions_are_in_bps(panel: Panel, forecaster: Forecaster) -> None:
    weights = {name: torch.zeros_like(weight) for name, weight in forecaster.weights.items()}
    weights["output_layer.bias"] = torch.tensor([-1.0, 0.0, 2.0])
    constant = Forecaster(**{name: getattr(forecaster, name) for name in Forecaster.__slots__} | {"weights": weights})
    scale = forecaster.normalizer.target_scale_bps(panel, np.array([50]))[0][:, None]
    np.testing.assert_allclose(constant.predict(panel, np.array([50]))[0], scale * [-1.0, 0.0, 2.0], rtol=1e-6)


def test_windows_over_missing_buckets_are_refused(panel: Panel, forecaster: Forecaster) -> None:
    torn = take(panel, np.delete(np.arange(200), [98]))
    with pytest.raises(DataError, match="expected 6 consecutive buckets"):
        forecaster.predict(torn, np.array([100]))
    with pytest.raises(DataError, match="expected 6 rows before each origin"):
        forecaster.predict(panel, np.array([3]))


@pytest.mark.parametrize(
    ("field", "value"), [("bucket_ms", 1000), ("price_source", "close"), ("venue", "binance-spot")]
)
def test_another_kind_of_data_is_refused(panel: Panel, forecaster: Forecaster, field: str, value: object) -> None:
    other = Panel(**{name: getattr(panel, name) for name in Panel.__slots__} | {field: value})
    with pytest.raises(DataError, match=f"expected .*, found {value}"):
        forecaster.predict(other, np.array([50]))


def test_a_symbol_that_was_not_trained_on_is_refused(panel: Panel, forecaster: Forecaster) -> None:
    other = Panel(**{name: getattr(panel, name) for name in Panel.__slots__} | {"symbols": ("dogeusdt",)})
    with pytest.raises(DataError, match="dogeusdt"):
        forecaster.predict(other, np.array([50]))


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run midas train first"):
        Forecaster.load(tmp_path)


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_truncated_model(forecaster: Forecaster, tmp_path: Path, keep: int) -> None:
    forecaster.save(tmp_path)
    path = tmp_path / MODEL_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptFileError, match="not a readable model"):
        Forecaster.load(tmp_path)


@pytest.mark.parametrize(("field", "own"), [("version", 2), ("feature_schema_version", 1)])
def test_a_model_of_another_version(forecaster: Forecaster, tmp_path: Path, field: str, own: int) -> None:
    forecaster.save(tmp_path)
    stored = torch.load(tmp_path / MODEL_FILE, weights_only=True)
    torch.save(stored | {field: 99}, tmp_path / MODEL_FILE)
    with pytest.raises(SchemaError, match=rf"expected .*version {own}, found 99"):
        Forecaster.load(tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: a CPU-trained model on a GPU is not checked")
def test_a_model_from_the_cpu_predicts_on_a_gpu(panel: Panel, forecaster: Forecaster, origins: np.ndarray) -> None:
    on_gpu = forecaster.predict(panel, origins, device="cuda")
    np.testing.assert_allclose(on_gpu, forecaster.predict(panel, origins, device="cpu"), rtol=1e-3, atol=1e-3)
