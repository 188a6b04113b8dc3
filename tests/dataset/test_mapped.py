import mmap
from pathlib import Path

import numpy as np
import pytest

from midas_ray.dataset import mapped
from midas_ray.dataset.mapped import Rows, large_array
from midas_ray.dataset.panel import load_panel
from midas_ray.dataset.scaling import Normalizer
from midas_ray.dataset.windows import window_origins
from midas_ray.forecast.batches import WindowSet
from midas_ray.storage import Storage
from tests.dataset.synthetic import synthetic_panel, write_features


def _is_mapped(array: np.ndarray) -> bool:
    """Whether it is a plain array over a mapped file; of a numpy.memmap Ray would take a copy in memory."""
    assert type(array) is np.ndarray
    return isinstance(array.base, np.memmap | mmap.mmap)


@pytest.mark.parametrize("most", [0, 700, 10**9])
def test_rows_are_those_put_in_wherever_they_lie(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(mapped, "MOST_IN_MEMORY_BYTES", most)
    rng = np.random.default_rng(0)
    blocks = [rng.standard_normal((n, 3)) for n in (5, 0, 11, 20)]
    rows = Rows()
    for block in blocks:
        rows.add(block)
    found = rows.array()
    assert _is_mapped(found) == (most < 864)
    np.testing.assert_array_equal(found, np.concatenate(blocks))
    found[3] = 7.0  # a copy of its own, to be written to
    assert found[3, 0] == 7.0


def test_a_large_array_begins_with_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "MOST_IN_MEMORY_BYTES", 100)
    small, large, empty = large_array((5, 2), np.float32), large_array((50, 2), np.float32), large_array((0, 2), "f4")
    assert (_is_mapped(small), _is_mapped(large)) == (False, True)
    assert not large.any()
    assert empty.shape == (0, 2)


def test_panel_and_windows_are_the_same_from_mapped_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path))
    write_features(storage, synthetic_panel(3000, ("btcusdt", "ethusdt")))
    columns = ("volume", "ofi", "close", "hour_sin", "hour_cos")

    def windows() -> WindowSet:
        panel = load_panel(storage, "binance-futures")
        origins = window_origins(panel, 20, 5, columns)
        return WindowSet.cut(panel, origins, Normalizer.fit(panel, origins, columns, 20, 5))

    in_memory = windows()
    monkeypatch.setattr(mapped, "MOST_IN_MEMORY_BYTES", 1000)
    from_files = windows()
    assert _is_mapped(from_files.inputs)
    numbers = np.array([0, 17, 5000])
    (x, target), (mapped_x, mapped_target) = in_memory[numbers], from_files[numbers]
    np.testing.assert_array_equal(target.numpy(), mapped_target.numpy())
    for name in x:
        np.testing.assert_array_equal(x[name].numpy(), mapped_x[name].numpy())
