"""Real captures pass every hard check, from import to features."""

import json
from pathlib import Path

import pytest

from midas_ray import cli
from midas_ray.features.run import features
from midas_ray.importers.run import import_archives
from midas_ray.quality.run import validate
from midas_ray.reconstruct.run import reconstruct
from midas_ray.settings import Features, Import, Reconstruct, Validate

pytestmark = pytest.mark.real


@pytest.mark.usefixtures("ray_local")
def test_futures_captures_pass_every_hard_check(real_data: Path, tmp_path: Path) -> None:
    """btcusdt by `lines`, four altcoins with klines and aggTrade by `cryptofeed`."""
    data_dir = str(tmp_path)
    lines = str(real_data / "binance-futures-raw" / "btcusdt_20240808.gz")
    cryptofeed = sorted(str(path) for path in (real_data / "binance-futures-cryptofeed").iterdir())
    import_archives(Import(format="lines", paths=[lines], symbols=("btcusdt",), data_dir=data_dir))
    import_archives(Import(format="cryptofeed", paths=cryptofeed, data_dir=data_dir))
    reconstruct(Reconstruct(data_dir=data_dir))
    features(Features(data_dir=data_dir))
    assert validate(Validate(data_dir=data_dir)) == 0
    report = json.loads((tmp_path / "reports" / "data_quality.json").read_text())
    hard = [check for check in report["checks"] if check["severity"] == "hard"]
    assert [check["status"] for check in hard] == ["PASS"] * len(hard)
    assert len(report["symbols"]) == 5
    btcusdt = report["symbols"]["btcusdt"]
    assert btcusdt["tick"] == 0.1
    assert btcusdt["tables"]["trades"]["rows"] == 21313
    assert btcusdt["latency_ms"]["negative"] == 21313  # the capture's clock was 1.3 s behind
    assert -1300 < btcusdt["latency_ms"]["p50"] < -1200


def test_real_bars_pass_every_hard_check(real_data: Path, tmp_path: Path) -> None:
    feather = str(real_data / "binance-futures-klines" / "BTC_USDT_USDT-1m-futures.feather")
    import_archives(Import(format="klines", paths=[feather], symbols=("btcusdt",), data_dir=str(tmp_path)))
    assert cli.main(["validate", "--data-dir", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "reports" / "data_quality.json").read_text())
    assert report["symbols"]["btcusdt"]["tables"]["bars"]["rows"] == 43199
