"""Files of the archive over HTTP: tried again, resumed where they broke off, verified before they get their name."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType

import aiohttp
import stamina

from midas_ray.errors import CorruptFileError, GeoBlockedError, StorageError, UsageError, VenueError
from midas_ray.importers.textfile import sha256
from midas_ray.importers.vision.source import CHECKSUM_SUFFIX, checksum_of, read_checksum

PART_SUFFIX = ".part"
CHUNK_BYTES = 2**18
MOST_WAIT_S = 120.0
"""The longest Retry-After that is heeded."""
_TRIES_OF_CONTENT = 3
_MOST_CHECKSUM_BYTES = 4096


class TransientArchiveError(VenueError):
    """The archive did not answer well this time. wait_s: how long it asks to wait; None where it does not say."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class ArchiveClient:
    """The archive at a base URL. Use as an async context manager. Raises UsageError for no URL.

    attempts: tries in a row without one new byte before a file is given up. timeout_s: the longest silence.
    first_wait_s: before the second try; it doubles, with jitter, up to 30 s.
    """

    def __init__(self, url: str, *, attempts: int = 8, timeout_s: float = 30.0, first_wait_s: float = 0.5) -> None:
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", url):
            raise UsageError(f"--archive-url: expected http://HOST or https://HOST, found {url!r}")
        self._url = url.rstrip("/")
        self._attempts, self._timeout_s, self._first_wait_s = attempts, timeout_s, first_wait_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "ArchiveClient":
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout_s, sock_read=self._timeout_s)
        self._session = aiohttp.ClientSession(
            timeout=timeout, trust_env=True, auto_decompress=False, headers={"Accept-Encoding": "identity"}
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(
        self, path: str, target: Path, advance: Callable[[int], None], expect: Callable[[int], None]
    ) -> bool:
        """Bring `path` of the archive and its checksum to `target`; False where it is not published (404).

        What is there and agrees with its checksum is not asked for. Interrupted, it leaves `target`.part, with which
        the next call goes on. advance: told of each n new bytes; expect: of the bytes of a file, once known. Raises
        VenueError, CorruptFileError (the content never agrees with its checksum), StorageError.
        """
        beside = target.with_name(target.name + CHECKSUM_SUFFIX)
        if await asyncio.to_thread(_is_whole, target, beside):
            return True
        part = target.with_name(target.name + PART_SUFFIX)
        found = expected = ""
        for _ in range(_TRIES_OF_CONTENT):
            text = await self._text(path + CHECKSUM_SUFFIX)
            if text is None:
                return False
            expected = checksum_of(text, target.name, f"{self._url}/{path}{CHECKSUM_SUFFIX}")
            with _storing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                found = await asyncio.to_thread(sha256, part) if part.is_file() else ""
                if found != expected:
                    if not await self._whole(path, part, advance, expect):
                        return False
                    found = await asyncio.to_thread(sha256, part)
                if found == expected:
                    beside.write_text(text)
                    part.replace(target)
                    return True
                part.unlink()
        raise CorruptFileError(
            f"{self._url}/{path}: expected SHA-256 {expected} by its {CHECKSUM_SUFFIX}, found {found} in "
            f"{_TRIES_OF_CONTENT} downloads; try again later"
        )

    async def _text(self, path: str) -> str | None:
        """A small file; None for 404."""
        async for attempt in self._retries():
            with attempt:
                async with self._get(path, {}) as response:
                    if response.status == 404:
                        return None
                    self._check(response, 200)
                    return (await response.content.read(_MOST_CHECKSUM_BYTES)).decode("utf-8", "replace")
        raise AssertionError("stamina raises what the last attempt raised")

    async def _whole(
        self, path: str, part: Path, advance: Callable[[int], None], expect: Callable[[int], None]
    ) -> bool:
        """Bring all bytes into `part`, from where it ends; False for 404. Attempts without a new byte end it."""
        while True:
            before = _size(part)
            try:
                async for attempt in self._retries():
                    with attempt:
                        return await self._stretch(path, part, advance, expect)
            except TransientArchiveError:
                if _size(part) <= before:
                    raise

    async def _stretch(
        self, path: str, part: Path, advance: Callable[[int], None], expect: Callable[[int], None]
    ) -> bool:
        have = _size(part)
        async with self._get(path, {"Range": f"bytes={have}-"} if have else {}) as response:
            if response.status == 404:
                return False
            if response.status == 416:  # what is there is no beginning of the file
                part.unlink()
                raise TransientArchiveError(
                    f"{self._url}/{path}: refused to go on at byte {have:,}; beginning anew", 0.0
                )
            self._check(response, 206 if have else 200, 200)
            goes_on = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if response.status == 206 and not goes_on:
                part.unlink()
                raise TransientArchiveError(
                    f"{self._url}/{path}: sent another part than asked for; beginning anew", 0.0
                )
            expect((response.content_length or 0) + (have if goes_on else 0))
            with part.open("ab" if goes_on else "wb") as stream:
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    stream.write(chunk)
                    advance(len(chunk))
        return True

    @contextlib.asynccontextmanager
    async def _get(self, path: str, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of any status. Raises TransientArchiveError where none comes or it breaks off."""
        if self._session is None:
            raise RuntimeError("use ArchiveClient as an async context manager")
        url = f"{self._url}/{path}"
        try:
            async with self._session.get(url, headers=headers) as response:
                yield response
        except TimeoutError:
            raise TransientArchiveError(f"{url}: nothing came for {self._timeout_s:g} s; check the network") from None
        except aiohttp.InvalidURL:
            raise UsageError(f"--archive-url: expected http://HOST or https://HOST, found {self._url!r}") from None
        except aiohttp.ClientError as error:
            reason = " ".join((str(error) or type(error).__name__).split())
            raise TransientArchiveError(f"{url}: cut off or not reached ({reason[:200]}); check the network") from None

    def _check(self, response: aiohttp.ClientResponse, *wanted: int) -> None:
        status, where = response.status, response.url
        if status in wanted:
            return
        if status == 451:
            raise GeoBlockedError(f"{where}: not served in this country (451); use a mirror with --archive-url")
        if status == 429 or status >= 500:
            raise TransientArchiveError(f"{where}: expected the file, found status {status}; try again later",
                                        _retry_after_s(response.headers.get("Retry-After")))  # fmt: skip
        raise VenueError(f"{where}: expected the file, found status {status}; check --archive-url")

    def _retries(self) -> AsyncIterable[stamina.Attempt]:
        return stamina.retry_context(
            on=_wait_again, attempts=self._attempts, timeout=None, wait_initial=self._first_wait_s, wait_max=30.0,
            wait_jitter=self._first_wait_s,
        )  # fmt: skip


def _wait_again(error: Exception) -> bool | float:
    """Whether to try again, or after how many seconds."""
    if not isinstance(error, TransientArchiveError):
        return False
    return True if error.wait_s is None else error.wait_s


def _retry_after_s(text: str | None) -> float | None:
    """Seconds of a Retry-After header, in seconds or as a date; None where there is none."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return min(float(text), MOST_WAIT_S)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    from_now = until.timestamp() - time.time()
    return min(max(from_now, 0.0), MOST_WAIT_S)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_whole(target: Path, beside: Path) -> bool:
    """Whether the file is there and agrees with the checksum beside it."""
    if not target.is_file() or not beside.is_file():
        return False
    return read_checksum(beside, target.name) == sha256(target)


@contextlib.contextmanager
def _storing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {target}: {error.strerror or error}; check the disk and permissions"
        ) from None
