"""Whether what runs a checkout has the versions that it pins."""

import importlib.metadata
import re
import shutil
from pathlib import Path

import pytest

from midas_ray.errors import UsageError
from midas_ray.pins import CHECKOUT, check_versions, read_pins


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One that pins what is installed here, with the image's own build of torch."""
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    torch = importlib.metadata.version("torch").partition("+")[0]
    (tmp_path / "constraints.txt").write_text(f"ray=={importlib.metadata.version('ray')}\ntorch=={torch}\n")
    return tmp_path


def test_this_checkout_pins_ray_and_torch() -> None:
    assert {"ray", "torch"} <= read_pins(CHECKOUT / "constraints.txt").keys()


def test_the_same_versions(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_versions(checkout)
    found = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: found(name).partition("+")[0] + "+cu130")
    check_versions(checkout)


@pytest.mark.parametrize("name", ["ray", "torch"])
def test_another_version(checkout: Path, name: str) -> None:
    pins = checkout / "constraints.txt"
    pins.write_text(re.sub(rf"^{name}==.*$", f"{name}==0.1.2", pins.read_text(), flags=re.MULTILINE))
    found = re.escape(importlib.metadata.version(name))
    with pytest.raises(UsageError, match=rf"^this checkout pins {name}==0\.1\.2, the cluster runs {found}; run ray up"):
        check_versions(checkout)


def test_another_python(checkout: Path) -> None:
    path = checkout / "pyproject.toml"
    path.write_text(re.sub(r'(requires-python = ").*"', r'\1>=9.1"', path.read_text()))
    with pytest.raises(UsageError, match=r"^this checkout wants Python >=9\.1, the cluster runs 3\.\d+\.\d+; run"):
        check_versions(checkout)


def test_an_upload_without_pins(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"constraints\.txt: expected beside jobs/, found none; submit from the top"):
        check_versions(tmp_path)
