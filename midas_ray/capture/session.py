"""What comes before collecting: is the exchange there, does it know the symbols, can DATA_DIR be written."""

from pathlib import Path

from midas_ray.capture.rest import RestClient
from midas_ray.errors import UsageError
from midas_ray.settings import Collect, MidasSettings
from midas_ray.storage import Storage
from midas_ray.venues import get_venue


def local_root(settings: MidasSettings) -> Path:
    """The data folder as an absolute path. Raises StorageError where it is not a local folder."""
    return Storage(settings.data_dir).local_path()


async def check_start(settings: Collect, symbols: tuple[str, ...]) -> None:
    """Raises one clear error where `symbols` cannot be collected now: nothing has been written then.

    UsageError, UnknownSymbolError, VenueError (unreachable, refused) or StorageError (not writable).
    """
    if not symbols:
        raise UsageError("--symbols: expected at least one symbol such as btcusdt")
    local_root(settings)
    async with RestClient(get_venue(settings.venue), settings.exchange_url) as rest:
        await rest.check_symbols(symbols)
    Storage(settings.data_dir).check_writable()
