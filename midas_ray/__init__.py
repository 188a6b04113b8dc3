"""MIDAS on Ray: from an exchange's order book to a judged forecast.

Example:
    data = midas_ray.open("data")
    data.features("btcusdt", "2026-11-22", "2026-11-23").collect()
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midas_ray.archive import Archive

try:
    __version__ = version("midas-ray")
except PackageNotFoundError:  # a Ray worker imports the package from the job's working_dir, uninstalled
    __version__ = "0+uninstalled"


def open(data_dir: str = "data") -> "Archive":
    """The data under DATA_DIR (a folder or a URI) as lazy polars frames. Raises DataError where it is missing."""
    from midas_ray.archive import open_archive  # polars takes a third of a second: not for `midas --help`

    return open_archive(data_dir)
