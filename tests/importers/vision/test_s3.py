"""The public archive into DATA_DIR on S3: the same tables, days joined in any order."""

from datetime import date
from pathlib import Path

import pytest

from midas_ray import object_store
from midas_ray.cli import main
from midas_ray.storage import Storage
from tests.importers.vision.made_up import agg_trades, quotes, zip_file
from tests.s3_server import Bucket


def test_an_import_to_s3_equals_a_local_one(bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    object_store.open_s3.cache_clear()
    paths = []
    for at, day in enumerate((date(2024, 10, 18), date(2024, 10, 19))):
        late = 23 * 3_600_000
        paths.append(
            zip_file(tmp_path, "aggTrades", agg_trades(5, day=day, first_id=5 * at + 1, first_ms=late), day=day)
        )
        paths.append(zip_file(tmp_path, "bookTicker", quotes(5, day=day, first_id=99 * at + 1, first_ms=late), day=day))
    flags = ["--snapshot-interval-ms", "10000", "--data-dir"]
    assert main(["import", "binance-vision", *paths, *flags, str(tmp_path / "data")]) == 0
    for some in (paths[2:], paths[:2]):
        assert main(["import", "binance-vision", *some, *flags, bucket.url()]) == 0
    here, there = Storage(str(tmp_path / "data")), Storage(bucket.url())
    names = here.list_files("clean")
    assert there.list_files("clean") == names
    for name in names:
        if name.endswith(".parquet"):
            assert there.read_parquet(name).equals(here.read_parquet(name))
            assert there.read_parquet_metadata(name) == here.read_parquet_metadata(name)
    capsys.readouterr()
    wanted = ["--download", "2024-10-18", "2024-10-18", "--symbols", "btcusdt", "--data-dir", bucket.url()]
    assert main(["import", "binance-vision", *wanted]) == 1
    assert "expected a local folder for this command" in capsys.readouterr().err
