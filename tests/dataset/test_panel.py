import dataclasses
from pathlib import Path

import numpy as np
import pytest

from midas_ray.dataset.panel import load_panel
from midas_ray.errors import CorruptFileError, DataError, SchemaError, UsageError
from midas_ray.features.nulls import NullKind
from midas_ray.storage import Storage
from tests.dataset.synthetic import VENUE, synthetic_panel, with_nulls, write_features


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "data"))


def test_files_give_back_every_number(storage: Storage) -> None:
    panel = with_nulls(synthetic_panel(1500, ("btcusdt", "ethusdt")), "vwap", slice(3, 9), NullKind.UNDEFINED)
    assert len(write_features(storage, panel)) == 4
    loaded = load_panel(storage, VENUE)
    for field in dataclasses.fields(panel):
        expected, found = getattr(panel, field.name), getattr(loaded, field.name)
        if isinstance(expected, np.ndarray):
            assert expected.dtype == found.dtype
            np.testing.assert_array_equal(expected, found)
        else:
            assert expected == found


def test_prices_and_quotes(storage: Storage) -> None:
    write_features(storage, synthetic_panel(5))
    panel = load_panel(storage, VENUE)
    np.testing.assert_array_equal(panel.price, panel.column("midprice"))
    np.testing.assert_allclose(panel.ask - panel.bid, panel.column("spread"), rtol=1e-10)


def test_close_is_the_price_of_a_dataset_without_a_book(storage: Storage) -> None:
    write_features(storage, synthetic_panel(5), {"price_source": "close"})
    panel = load_panel(storage, VENUE)
    np.testing.assert_array_equal(panel.price, panel.column("close"))


def test_chosen_symbols_only(storage: Storage) -> None:
    write_features(storage, synthetic_panel(5, ("btcusdt", "ethusdt")))
    assert load_panel(storage, VENUE, ("ethusdt",)).symbols == ("ethusdt",)


def test_no_features_yet(storage: Storage) -> None:
    with pytest.raises(DataError, match="run midas features first"):
        load_panel(storage, VENUE)


def test_unknown_symbol_names_the_known_ones(storage: Storage) -> None:
    write_features(storage, synthetic_panel(5))
    with pytest.raises(UsageError, match=r"--symbols dogeusdt: .*found btcusdt"):
        load_panel(storage, VENUE, ("dogeusdt",))


def test_another_schema_version(storage: Storage) -> None:
    write_features(storage, synthetic_panel(5), {"schema_version": "9"})
    with pytest.raises(SchemaError, match="expected feature schema version 1, found 9"):
        load_panel(storage, VENUE)


@pytest.mark.parametrize(("name", "value"), [("time_bucket_ms", "1000"), ("price_source", "close")])
def test_a_dataset_mixes_nothing(storage: Storage, name: str, value: str) -> None:
    write_features(storage, synthetic_panel(5))
    write_features(storage, synthetic_panel(5, ("ethusdt",)), {name: value})
    with pytest.raises(SchemaError, match=f"features mix {name}"):
        load_panel(storage, VENUE)
    assert len(load_panel(storage, VENUE, ("btcusdt",))) == 5


def test_a_null_without_a_kind_is_refused(storage: Storage) -> None:
    panel = synthetic_panel(5)
    values = panel.values.copy()
    values[2, 0] = np.nan
    write_features(storage, dataclasses.replace(panel, values=values))
    with pytest.raises(CorruptFileError, match="open in row 2 is nan with null kind 0"):
        load_panel(storage, VENUE)


def test_a_truncated_file(storage: Storage) -> None:
    (path,) = write_features(storage, synthetic_panel(5))
    file = storage.local_path(path)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(CorruptFileError, match="not a readable Parquet file"):
        load_panel(storage, VENUE)
