"""Storage on S3, against a local server: whole files only, one clear line for what fails, few requests."""

import gc
import io
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from midas_ray import object_store
from midas_ray.errors import CorruptFileError, StorageError
from midas_ray.storage import Partition, Storage
from tests.fault_proxy import Fault, Faults, fault_proxy, some
from tests.s3_server import KEY, SECRET, Bucket

BIG = 25 * 2**20
"""More than pyarrow sends in one request."""
DAY = Partition("clean/book", "v", "s", date(2026, 1, 5))


def table(rows: int = 3) -> pa.Table:
    return pa.table({"x": list(range(rows))})


@pytest.fixture(autouse=True)
def _forget_clients() -> None:
    """Each test reaches its server anew."""
    object_store.open_s3.cache_clear()


def test_what_is_written_is_there_and_leaves_nothing_else(bucket: Bucket) -> None:
    storage = Storage(bucket.url())
    storage.write_bytes("a/b=c/x.json", b"{}")
    storage.write_parquet(f"{DAY.path}/00.parquet", table(), {"k": "v"})
    assert storage.read_bytes("a/b=c/x.json") == b"{}"
    assert storage.read_parquet(f"{DAY.path}/00.parquet", ["x"]).equals(table())
    assert storage.read_parquet_metadata(f"{DAY.path}/00.parquet") == {"k": "v"}
    assert storage.partitions("clean/book") == {DAY: [f"{DAY.path}/00.parquet"]}
    assert storage.exists("")
    assert storage.exists("a")
    assert not storage.exists("a/none")
    assert list(bucket.sizes()) == ["midas/a/b=c/x.json", f"midas/{DAY.path}/00.parquet"]


def test_a_data_dir_may_be_a_whole_bucket(bucket: Bucket) -> None:
    storage = Storage(bucket.url(""))
    storage.write_bytes("a/x", b"1")
    assert storage.list_files("") == ["a/x"]
    assert storage.list_files("a") == ["a/x"]
    assert list(bucket.sizes()) == ["a/x"]


def test_staged_tables_are_seen_only_once_published(bucket: Bucket) -> None:
    storage = Storage(bucket.url())
    names = {f"{DAY.path}/{hour:02d}.parquet": table(hour + 1) for hour in range(4)}
    staged = {path: storage.stage_parquet(path, rows, {"hour": path}) for path, rows in names.items()}
    assert bucket.sizes() == {}
    given_up = storage.stage_parquet("x/y.parquet", table(), {})
    storage.delete(given_up)
    for path, temporary in staged.items():
        storage.publish(temporary, path)
    assert bucket.files() == [f"midas/{path}" for path in names]
    for path, rows in names.items():
        assert storage.read_parquet(path).equals(rows)
        assert storage.read_parquet_metadata(path) == {"hour": path}


def test_a_write_that_fails_leaves_what_was_there(bucket: Bucket) -> None:
    storage = Storage(bucket.url())
    storage.write_bytes("a/x", b"before")
    with pytest.raises(ZeroDivisionError), storage.atomic_output("a/x") as stream:
        stream.write(b"half" * stream.write(b"half") * (1 // 0))
    assert bucket.read("midas/a/x") == b"before"
    assert bucket.files() == ["midas/a/x"]


class _Breaking(io.BytesIO):
    """A local file whose disk fails at some byte."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= 16 * 2**20:
            raise OSError("input/output error")
        return super().read(size)


def test_an_upload_whose_source_breaks_off_never_shows(bucket: Bucket) -> None:
    storage = Storage(bucket.url())
    with pytest.raises(OSError, match="input/output"):
        object_store.upload(storage.fs, storage.root + "/raw/big", _Breaking(bytes(BIG)), BIG)
    gc.collect()
    assert bucket.files() == []


def test_a_large_file_is_seen_whole_or_not_at_all(bucket: Bucket, tmp_path: Path) -> None:
    sizes: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            sizes.update(bucket.sizes().values())

    source = tmp_path / "big"
    source.write_bytes(bytes(BIG))
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        Storage(bucket.url()).adopt(source, "raw/big")
        time.sleep(0.2)
    finally:
        done.set()
        watcher.join()
    assert sizes == {BIG}
    assert not source.exists()
    assert bucket.uploads() == []


@pytest.mark.parametrize("fault", ["500", "cut-before", "cut-after"])
def test_a_part_that_never_arrives_fails_the_whole(bucket: Bucket, tmp_path: Path, fault: Fault) -> None:
    source = tmp_path / "big"
    source.write_bytes(bytes(BIG))
    faults = Faults(lambda _method, path: fault if "partNumber=2" in path else None)
    with fault_proxy(bucket.port, faults) as port, pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_store, "ATTEMPTS", 2)
        with pytest.raises(StorageError, match="failed after 2 tries"):
            Storage(bucket.url(port=port)).adopt(source, "raw/big")
        gc.collect()
    assert bucket.files() == []
    assert source.stat().st_size == BIG


def test_faults_now_and_then_are_ridden_out(bucket: Bucket, tmp_path: Path) -> None:
    faults = Faults(some(seed=1, share=0.25))
    with fault_proxy(bucket.port, faults) as port:
        storage = Storage(bucket.url(port=port))
        for n in range(6):
            storage.write_parquet(f"{DAY.path}/{n:02d}.parquet", table(1000 + n))
        big = tmp_path / "big"
        big.write_bytes(bytes(range(256)) * (BIG // 256))
        storage.adopt(big, "raw/big")
        assert [len(storage.read_parquet(path)) for path in storage.list_files(DAY.path)] == list(range(1000, 1006))
        with storage.open_stream("raw/big") as stream:
            assert b"".join(iter(lambda: stream.read(2**20), b"")) == bytes(range(256)) * (BIG // 256)
    assert faults.seen.total() >= 3
    assert bucket.files() == [*(f"midas/{DAY.path}/{n:02d}.parquet" for n in range(6)), "midas/raw/big"]


def test_many_files_cost_few_requests(bucket: Bucket) -> None:
    direct = Storage(bucket.url())
    paths = [f"clean/{name}/venue=v/symbol=s/date=2026-01-0{day}/{hour:02d}.parquet"
             for name in ("book", "trades") for day in (5, 6) for hour in range(5)]  # fmt: skip
    for n, path in enumerate(paths):
        direct.write_bytes(path, b"x" * n)
    faults = Faults(lambda _method, _path: None)
    with fault_proxy(bucket.port, faults) as port:
        storage = Storage(bucket.url(port=port))
        assert storage.sizes(paths) == list(range(20))
        assert storage.existing([*paths, paths[0] + ".gone"]) == set(paths)
        assert len(storage.stamps(paths)) == 20
        assert len(faults.requests) == 1 + 2 * 3  # to reach it; then one listing a table and question
        assert storage.stamps(paths[:2]) == storage.stamps(paths)[:2]
    assert storage.read_many(paths[:3]) == [b"", b"x", b"xx"]


def test_a_file_written_anew_has_another_stamp(bucket: Bucket) -> None:
    storage = Storage(bucket.url())
    storage.write_bytes("a", b"1")
    before = storage.stamps(["a"])
    storage.write_bytes("a", b"22")
    assert storage.stamps(["a"]) != before
    with pytest.raises(StorageError, match="gone: expected a file"):
        storage.stamps(["gone"])


def test_deleting_leaves_no_file(bucket: Bucket) -> None:
    storage = Storage(bucket.url())
    paths = [f"{DAY.path}/{hour:02d}.parquet" for hour in range(3)]
    for path in (*paths, "clean/other"):
        storage.write_bytes(path, b"x")
    storage.delete_partition(DAY, paths[:2])
    assert bucket.files() == [f"midas/{paths[2]}", "midas/clean/other"]  # a stranger in the folder is left
    storage.delete_partition(DAY, paths[2:])
    assert bucket.files() == ["midas/clean/other"]


def test_a_damaged_file_is_told_from_a_failing_store(bucket: Bucket) -> None:
    Storage(bucket.url()).write_bytes("x.parquet", b"no Parquet at all")
    faults = Faults(lambda method, path: "500" if method == "GET" and path.endswith("x.parquet") else None)
    with pytest.raises(CorruptFileError, match=r"s3://test-\w+/midas/x.parquet: not a readable"):
        Storage(bucket.url()).read_parquet("x.parquet")
    with fault_proxy(bucket.port, faults) as port, pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_store, "ATTEMPTS", 2)
        with pytest.raises(StorageError, match="failed after 2 tries"):
            Storage(bucket.url(port=port)).read_parquet("x.parquet")


def _one_line(call: Callable[[], object]) -> str:
    with pytest.raises(StorageError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    assert SECRET not in line
    assert KEY not in line
    return line


def test_what_cannot_work_is_said_in_one_line_without_secrets(bucket: Bucket) -> None:
    began_s = time.monotonic()
    absent = Bucket("test-no-such-bucket", bucket.port)
    for call in (Storage(absent.url()).check_writable, lambda: Storage(absent.url()).list_files("raw")):
        assert "found none named test-no-such-bucket" in _one_line(call)
    assert "expected an S3 server at 127.0.0.1:1" in _one_line(lambda: Storage(bucket.url(port=1)).exists(""))
    faults = Faults(lambda _method, _path: "404")
    with fault_proxy(bucket.port, faults) as port:  # a web server that is none of S3
        assert "found none named" in _one_line(lambda: Storage(bucket.url(port=port)).list_files("raw"))
    assert "expected options of" in _one_line(lambda: Storage(bucket.url() + "&colour=red"))
    assert "found no bucket" in _one_line(lambda: Storage("s3:///prefix"))
    assert time.monotonic() - began_s < 60


def test_a_refusal_is_told_at_once(bucket: Bucket) -> None:
    refused = Faults(lambda _method, _path: "403")
    with fault_proxy(bucket.port, refused) as port:
        assert "refuses access (ACCESS_DENIED)" in _one_line(lambda: Storage(bucket.url(port=port)).list_files("raw"))
    assert len(refused.requests) == 1


def test_the_environment_names_endpoint_and_credentials(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.environment().items():
        monkeypatch.setenv(name, value)
    storage = Storage(f"s3://{bucket.name}/midas")
    storage.write_bytes("x", b"1")
    assert bucket.files() == ["midas/x"]
    assert storage.shown_path("x") == f"s3://{bucket.name}/midas/x" == Storage(bucket.url()).shown_path("x")
    assert storage.work_folder == Storage(bucket.url()).work_folder


def test_credentials_come_from_the_uri_the_environment_or_the_shared_file(tmp_path: Path) -> None:
    shared = tmp_path / "credentials"
    shared.write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n[other]\naws_access_key_id = C\n"
                      "aws_secret_access_key = D\naws_session_token = E\n")  # fmt: skip
    base = {"AWS_SHARED_CREDENTIALS_FILE": str(shared)}

    def keys(uri: str, environment: dict[str, str]) -> tuple[str | None, str | None, str | None]:
        location = object_store.parse_location(uri, base | environment)
        return location.access_key, location.secret_key, location.session_token

    named = {"AWS_ACCESS_KEY_ID": "F", "AWS_SECRET_ACCESS_KEY": "G"}
    assert keys("s3://b/p", {}) == ("A", "B", None)
    assert keys("s3://b/p", {"AWS_PROFILE": "other"}) == ("C", "D", "E")
    assert keys("s3://b/p", {"AWS_PROFILE": "none"}) == (None, None, None)
    assert keys("s3://b/p", named) == ("F", "G", None)
    assert keys("s3://H:I%2FJ@b/p", named) == ("H", "I/J", None)
    location = object_store.parse_location("s3://H:I@b/p/", {"AWS_ENDPOINT_URL_S3": "http://h:9", "AWS_REGION": "eu"})
    assert (location.scheme, location.endpoint, location.region, location.root) == ("http", "h:9", "eu", "b/p")
    assert "H" not in repr(location).replace("S3Location", "")
    assert "I" not in repr(location)


def test_the_spool_of_a_store_is_its_own(tmp_path: Path) -> None:
    one, two = (Storage(f"s3://b/{prefix}", str(tmp_path)) for prefix in ("p", "q"))
    assert one.work_folder.parent == two.work_folder.parent == tmp_path
    assert one.work_folder != two.work_folder
    assert Storage("data").work_folder == Path("data").resolve()
