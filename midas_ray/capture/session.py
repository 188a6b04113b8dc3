"""What comes before collecting: is the exchange there, does it know the symbols, can DATA_DIR be written."""

from pathlib import Path

from midas_ray.capture.rest import RestClient
from midas_ray.errors import UsageError
from midas_ray.setting_values import top_count
from midas_ray.settings import Collect, MidasSettings
from midas_ray.storage import Storage
from midas_ray.venues import get_venue


def local_root(settings: MidasSettings) -> Path:
    """Where collectors write: the data folder as an absolute path, or its spool where it is an object store."""
    return Storage.of(settings).work_folder


async def resolve_symbols(settings: Collect, rest: RestClient) -> tuple[str, ...]:
    """The symbols that `settings` names, or those that its `top:N` means now.

    Raises UnknownSymbolError naming all that the venue does not list, VenueError where it cannot be asked.
    """
    count = top_count(settings.symbols)
    if count is not None:
        return await rest.top_symbols(count)
    await rest.check_symbols(settings.symbols)
    return settings.symbols


async def check_start(settings: Collect, symbols: tuple[str, ...]) -> tuple[str, ...]:
    """The symbols that `symbols` (named, or `top:N`) means. Raises one clear error where they cannot be collected now:
    nothing has been written then.

    UsageError, UnknownSymbolError, VenueError (unreachable, refused) or StorageError (not writable).
    """
    if not symbols:
        raise UsageError("--symbols: expected at least one symbol such as btcusdt")
    async with RestClient(get_venue(settings.venue), settings.exchange_url) as rest:
        found = await resolve_symbols(settings.model_copy(update={"symbols": symbols}), rest)
    storage = Storage.of(settings)
    storage.check_writable()
    Storage(str(storage.work_folder)).check_writable()
    return found
