"""All stages on S3: the same rows as in a local folder, bit for bit, whatever the server and the power supply do."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

import midas_ray
from midas_ray import object_store
from midas_ray.cli import run_command
from midas_ray.dataset.panel import load_panel
from midas_ray.errors import StorageError
from midas_ray.evaluate.run import backtest
from midas_ray.settings import Backtest
from midas_ray.storage import Storage
from tests.capture.running import MIDAS
from tests.dataset.synthetic import write_features
from tests.evaluate.markets import fit_linear, signal_panel
from tests.fault_proxy import Faults, fault_proxy, some
from tests.s3_server import SECRET, Bucket

HISTORY = ["--symbols", "btcusdt", "--history", "4m", "--start", "2026-01-05T00:58:00Z", "--seed", "3"]
"""Two hours, so that a task ends in the middle of the data."""
FEATURES = ["--time-bucket-ms", "10000"]
TABLES = ("clean/book", "clean/trades", "clean/gaps", "clean/mark", "clean/liquidations", "clean/bars", "features")


def _stages(data_dir: str) -> None:
    flags = ["--data-dir", data_dir]
    assert run_command("simulate", [*HISTORY, *flags]) == 0
    assert run_command("reconstruct", flags) == 0
    assert run_command("features", [*FEATURES, *flags]) == 0


@pytest.fixture(scope="module")
def local(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same data in a local folder."""
    folder = tmp_path_factory.mktemp("flow") / "data"
    _stages(str(folder))
    return folder


@pytest.fixture(autouse=True)
def _forget_clients() -> None:
    object_store.open_s3.cache_clear()


def _rows(storage: Storage) -> dict[str, pl.DataFrame]:
    """Every table file: its values, types and order, without what says when its inputs were written."""
    paths = [path for table in TABLES for path in storage.list_files(table, ".parquet")]
    return {path: pl.DataFrame(pl.from_arrow(storage.read_parquet(path))) for path in paths}


def _assert_same(one: Storage, two: Storage) -> None:
    ours, theirs = _rows(one), _rows(two)
    assert list(ours) == list(theirs)
    assert any(path.startswith("features/") for path in ours)
    for path, frame in ours.items():
        assert frame.schema == theirs[path].schema, path
        assert frame.equals(theirs[path], null_equal=True), path


def _raw(storage: Storage) -> list[bytes]:
    return [storage.read_bytes(path) for path in storage.list_files("raw")]


def test_all_stages_over_a_failing_server_give_the_rows_of_a_local_folder(
    local: Path, bucket: Bucket, ray_local: None, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = Faults(some(seed=2, share=0.08))
    with fault_proxy(bucket.port, faults) as port:
        url = bucket.url(port=port)
        _stages(url)
        assert run_command("validate", ["--data-dir", url]) == 0
    assert faults.seen.total() >= 5
    here, there = Storage(str(local)), Storage(bucket.url())
    assert _raw(here) == _raw(there)
    _assert_same(here, there)
    assert bucket.uploads() == []
    assert not [key for key in bucket.sizes() if ".tmp-" in key or ".open" in key]
    report = json.loads(bucket.read("midas/reports/data_quality.json"))
    assert report["data_dir"] == f"s3://{bucket.name}/midas"
    assert SECRET.encode() not in bucket.read("midas/reports/data_quality.html")
    said = capsys.readouterr()
    assert f"report: s3://{bucket.name}/midas/reports/data_quality.html" in said.out
    assert SECRET not in said.out + said.err
    _reads_back(local, bucket, capsys)
    _resumes(bucket, capsys)
    _cleans(bucket, capsys)


def _reads_back(local: Path, bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    """midas_ray.open and midas stats see what they see in a local folder."""
    one, two = midas_ray.open(str(local)), midas_ray.open(bucket.url())
    for table in ("book", "trades", "gaps", "mark", "liquidations", "bars", "features"):
        ours, theirs = (getattr(each, table)("btcusdt").collect() for each in (one, two))
        assert ours.schema == theirs.schema
        assert ours.equals(theirs, null_equal=True), table
    window = ("2026-01-05T01:00", "2026-01-05T01:01")
    assert one.book("btcusdt", *window).collect().equals(two.book("btcusdt", *window).collect())
    found = []
    for data_dir in (str(local), bucket.url()):
        capsys.readouterr()
        assert run_command("stats", ["--json", "--data-dir", data_dir]) == 0
        (day,) = json.loads(capsys.readouterr().out)
        found.append({name: day[name] for name in ("raw_files", "raw_bytes", "rows", "feature_rows")})
    assert found[0] == found[1]


def _resumes(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    """What is there is not made again; what is missing is, and nothing else."""
    before = Storage(bucket.url()).listing("clean")
    assert run_command("reconstruct", ["--data-dir", bucket.url()]) == 0
    assert run_command("features", [*FEATURES, "--data-dir", bucket.url()]) == 0
    said = capsys.readouterr().out
    assert "btcusdt: up to date" in said
    assert "0 days computed, 1 up to date" in said
    assert Storage(bucket.url()).listing("clean") == before


def _cleans(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data-dir", bucket.url()]
    count = len(bucket.files())
    assert run_command("clean-data", ["--dry-run", "--delete-unfinished", *flags]) == 0
    assert len(bucket.files()) == count
    assert run_command("clean-data", ["--assume-yes", "--delete-unfinished", *flags]) == 0
    assert f"s3://{bucket.name}/midas" in capsys.readouterr().out
    kept = {key.split("/")[1] for key in bucket.files()}
    assert kept == {".midas", "reports", "truth"}


def test_an_import_arrives_whole_and_the_same_again_changes_nothing(
    local: Path, bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "BTCUSDT-1m-2026-01-05.csv"
    rows = [f"{1767571200000 + 60000 * n},1,2,0.5,1.5,3,{1767571259999 + 60000 * n},4,5,1,2,0" for n in range(90)]
    source.write_text("\n".join(rows) + "\n")
    arguments = ["klines", str(source), "--symbol", "btcusdt", "--data-dir"]
    with fault_proxy(bucket.port, Faults(some(seed=4, share=0.15))) as port:
        assert run_command("import", [*arguments, bucket.url(port=port)]) == 0
    assert run_command("import", [*arguments, str(tmp_path / "data")]) == 0
    here = Storage(str(tmp_path / "data"))
    assert len(here.list_files("clean/bars")) == 2
    assert here.list_files("clean") == Storage(bucket.url()).list_files("clean")
    for path in here.list_files("clean"):
        assert here.read_parquet(path).equals(Storage(bucket.url()).read_parquet(path))
    capsys.readouterr()
    assert run_command("import", [*arguments, bucket.url()]) == 0
    assert "hours 2, 2 of them unchanged" in capsys.readouterr().out


@contextmanager
def _killed_with_all_it_started(process: asyncio.subprocess.Process) -> Iterator[None]:
    import ray  # noqa: F401 - puts the psutil it ships on the path
    import psutil  # type: ignore[import-untyped]  # isort: skip

    try:
        yield
    finally:
        top = psutil.Process(process.pid)
        for each in [top, *top.children(recursive=True)]:
            each.kill()


async def test_a_kill_in_the_middle_leaves_whole_files_and_a_rerun_does_the_rest(
    local: Path, bucket: Bucket, ray_local: None, tmp_path: Path
) -> None:
    assert run_command("simulate", [*HISTORY, "--data-dir", bucket.url()]) == 0
    written: list[str] = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(method: str, path: str) -> None:
        if method == "PUT" and "/clean/" in path:
            written.append(path)
            if len(written) == 3:
                loop.call_soon_threadsafe(done.set)
                time.sleep(3)  # it dies while this request is under way

    with fault_proxy(bucket.port, Faults(note)) as port:
        command = [MIDAS, "reconstruct", "--num-cpus", "1", "--data-dir", bucket.url(port=port)]
        nowhere = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdout=nowhere, stderr=nowhere, env=os.environ)
        with _killed_with_all_it_started(process):
            async with asyncio.timeout(120):
                await done.wait()
        await process.wait()
    there = bucket.files("midas/clean/")
    assert not [key for key in there if ".tmp-" in key]
    assert bucket.uploads() == []
    storage = Storage(bucket.url())
    for key in [key for key in there if key.endswith(".parquet")]:
        assert pq.ParquetFile(storage.fs.open_input_file(f"{bucket.name}/{key}")).metadata.num_rows >= 0
    assert run_command("reconstruct", ["--data-dir", bucket.url()]) == 0
    assert len(bucket.files("midas/clean/")) > len(there)
    assert run_command("features", [*FEATURES, "--data-dir", bucket.url()]) == 0
    _assert_same(Storage(str(local)), storage)


def test_a_store_that_fails_for_good_is_one_line_and_writes_no_row(
    bucket: Bucket, ray_local: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "ATTEMPTS", 2)
    faults = Faults(lambda method, path: "503" if method == "PUT" and "/raw/" in path else None)
    with fault_proxy(bucket.port, faults) as port, pytest.raises(StorageError) as caught:
        run_command("simulate", [*HISTORY, "--data-dir", bucket.url(port=port)])
    assert "failed after 2 tries" in str(caught.value)
    assert "SLOW_DOWN" in str(caught.value)
    assert bucket.files("midas/raw/") == []
    state = Storage(bucket.url()).work_folder
    assert not list(state.glob(".tmp-*"))


@pytest.mark.long
def test_a_backtest_reads_features_from_the_store_and_writes_its_reports_there(
    bucket: Bucket, ray_local: None, tmp_path: Path
) -> None:
    panel = signal_panel(1500, strength_bps=4.0)
    write_features(Storage(str(tmp_path / "data")), panel)
    write_features(Storage(bucket.url()), panel)
    with fault_proxy(bucket.port, Faults(some(seed=5, share=0.1))) as port:
        url = bucket.url(port=port)
        ours, theirs = (load_panel(Storage(each), panel.venue) for each in (str(tmp_path / "data"), url))
        assert np.array_equal(ours.values, theirs.values, equal_nan=True)
        assert np.array_equal(ours.ts_us, theirs.ts_us)
        small: dict[str, Any] = {"input_length": 10, "output_length": 10, "fee_bps": 1.0, "gpus": 0}
        assert backtest(Backtest(data_dir=url, **small), fit=fit_linear) == 0
    names = ["backtest_results.csv", "backtest_results.html", "backtest_results.json"]
    assert bucket.files("midas/reports/") == [f"midas/reports/{name}" for name in names]
    assert json.loads(bucket.read("midas/reports/backtest_results.json"))["trading"]["round_trips"] > 30
    assert not any(SECRET.encode() in bucket.read(f"midas/reports/{name}") for name in names)
