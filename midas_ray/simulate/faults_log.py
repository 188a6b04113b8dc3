"""What the fault script did, as it happened: in memory, and as JSON lines on disk where asked."""

import time
from pathlib import Path
from typing import Any

import msgspec

from midas_ray.errors import StorageError


class FaultLog:
    """Entries `{"t":<s from the start>,"at_ns":<wall clock>,"index":<fault>,"kind":...,"action":...,...}`.

    action: `start` (with `connections`, `symbol`, `stream` where it takes any), `hit` (a request or handshake that met
    the fault), `lost` (an event that no connection gets: its ids), `end`, or `skipped`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[dict[str, Any]] = []
        self._started_s = time.monotonic()
        self._stream = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._stream = path.open("ab", buffering=0)
            except OSError as error:
                raise StorageError(f"cannot write {path} ({(error.strerror or str(error)).lower()})") from None

    def add(self, index: int, kind: str, action: str, **fields: Any) -> None:
        """Add an entry; it is on disk when this returns (as far as a killed process is concerned)."""
        t_s = round(time.monotonic() - self._started_s, 3)
        entry = {"t": t_s, "at_ns": time.time_ns(), "index": index, "kind": kind, "action": action, **fields}
        self.entries.append(entry)
        if self._stream is not None:
            self._stream.write(msgspec.json.encode(entry) + b"\n")

    def count(self, action: str = "start") -> dict[str, int]:
        """How often each kind did this."""
        counts: dict[str, int] = {}
        for entry in self.entries:
            if entry["action"] == action:
                counts[entry["kind"]] = counts.get(entry["kind"], 0) + 1
        return counts

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
