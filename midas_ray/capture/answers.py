"""How `midas status` asks the collectors of its own head: a Unix socket for each, in the head's session folder.

Without joining Ray, which takes seconds and leaves some 60 kB in the head's processes for good each time: a status each
minute would fill the memory of a head that runs for months. It also answers when the data's disk is full.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec

from midas_ray.capture.health import Health
from midas_ray.capture.limits import LimitsState

SUFFIX = ".sock"
ANSWER_S = 10.0
"""How long a collector may take to answer."""


class Answer(msgspec.Struct, frozen=True):
    """What a collector says. limits: what is used of those of `exchange`, as seen from its node; None: not known."""

    healths: list[Health]
    exchange: str = ""
    limits: LimitsState | None = None


@contextlib.asynccontextmanager
async def answering(folder: Path, name: str, answer: Callable[[], Awaitable[Answer]]) -> AsyncIterator[None]:
    """Inside the block whoever connects to the socket of this name gets one answer. Raises OSError."""
    path = folder / f"{name}{SUFFIX}"

    async def tell(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # the asker has gone
            writer.write(msgspec.json.encode(await answer()))
            await writer.drain()
        writer.close()

    path.unlink(missing_ok=True)  # of one that was killed
    server = await asyncio.start_unix_server(tell, path)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


def ask_all(folder: Path) -> dict[str, Answer | None]:
    """What each collector of the head says, by name; None where it does not answer."""
    return asyncio.run(_ask_all(folder))


async def _ask_all(folder: Path) -> dict[str, Answer | None]:
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    answers = await asyncio.gather(*(_ask(path) for path in paths))
    return {path.name.removesuffix(SUFFIX): answer for path, answer in zip(paths, answers, strict=True)}


async def _ask(path: Path) -> Answer | None:
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return msgspec.json.decode(await reader.read(), type=Answer)
            finally:
                writer.close()
    except (OSError, TimeoutError, msgspec.DecodeError):
        return None  # shown as `silent`
