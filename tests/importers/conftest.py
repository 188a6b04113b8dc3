from pathlib import Path

import pytest

from tests.importers.archives import clean
from tests.importers.captures import run


@pytest.fixture(scope="session")
def btc_capture(real_data: Path) -> Path:
    """The real USD-M BTCUSDT capture."""
    return real_data / "binance-futures-raw" / "btcusdt_20240808.gz"


@pytest.fixture(scope="session")
def btc_lines(btc_capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose data folder holds raw and clean of that capture, imported as `lines`."""
    root = tmp_path_factory.mktemp("btc-lines")
    assert run(root, "lines", str(btc_capture), "--symbol", "btcusdt") == 0
    clean(root)
    return root
