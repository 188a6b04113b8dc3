"""A training whose features lie in an object store keeps its checkpoints there."""

from pathlib import Path

import pytest

from midas_ray import object_store
from midas_ray.cli import main
from midas_ray.storage import Storage
from tests.dataset.synthetic import synthetic_panel, write_features
from tests.fault_proxy import Faults, fault_proxy
from tests.s3_server import SECRET, Bucket


@pytest.mark.long
@pytest.mark.usefixtures("ray_local")
def test_checkpoints_lie_in_the_store_while_training(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    object_store.open_s3.cache_clear()
    write_features(Storage(bucket.url()), synthetic_panel(160))
    written: list[str] = []

    def note(method: str, path: str) -> None:
        if method in {"PUT", "POST"} and "/checkpoints/" in path:
            written.append(path)

    flags = ["--hidden-dim", "8", "--n-heads", "1", "--input-length", "10", "--output-length", "3", "--gpus", "0"]
    with fault_proxy(bucket.port, Faults(note)) as port:
        monkeypatch.setenv("DATA_DIR", bucket.url(port=port))
        assert main(["train", *flags, "--epochs", "2", "--batch-size", "32"]) == 0
    assert len([path for path in written if path.partition("?")[0].endswith("/checkpoint.ckpt")]) >= 2
    assert not bucket.files("midas/checkpoints/")
    assert Path("models/latest/best_model.pt").is_file()
    assert not any(SECRET.encode() in path.read_bytes() for path in Path("models").rglob("*") if path.is_file())
