"""What a pipeline has done with which inputs: DATA_DIR/.midas/pipeline-<selection>.json."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from midas_ray.errors import DataError
from midas_ray.settings import Pipeline
from midas_ray.storage import Storage

WHERE_IT_RUNS = frozenset(
    (
        "data_dir",
        "spool_dir",
        "ray_address",
        "num_cpus",
        "gpus",
        "workers",
        "max_restarts",
        "log_dir",
        "config",
        "resume",
    )
)
"""Settings that change nothing in what a stage gives."""


class StageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """key: of the inputs a stage was run with. done: it ended well. run: name of a training, to go on with it."""

    key: str
    done: bool = False
    run: str | None = None


class Record:
    """What is known of the stages of one selection of symbols. Every change is written at once."""

    def __init__(self, storage: Storage, values: Pipeline) -> None:
        selection = hashlib.sha256(",".join(sorted(values.symbols)).encode()).hexdigest()[:8]
        self._storage = storage
        self._path = f".midas/pipeline-{values.venue}-{selection if values.symbols else 'all'}.json"
        self._stages = self._read()

    def _read(self) -> dict[str, StageRecord]:
        """Raises DataError where the file is damaged."""
        if not self._storage.exists(self._path):
            return {}
        try:
            return msgspec.json.decode(self._storage.read_bytes(self._path), type=dict[str, StageRecord])
        except msgspec.DecodeError as error:
            raise DataError(
                f"{self._storage.shown_path(self._path)}: expected the record of a pipeline, found: {error}; delete it"
            ) from None

    def of(self, stage: str) -> StageRecord | None:
        return self._stages.get(stage)

    def note(self, stage: str, record: StageRecord) -> None:
        """Raises StorageError."""
        self._stages[stage] = record
        self._storage.write_bytes(self._path, msgspec.json.format(msgspec.json.encode(self._stages)))


def fingerprint(storage: Storage, tables: Sequence[str], venue: str, symbols: Sequence[str]) -> str:
    """Changes with every file of these tables that is added, removed or written anew. symbols: empty = all."""
    digest = hashlib.sha256()
    for table in tables:
        top = f"{table}/venue={venue}" if table == "features" else table
        for file in storage.listing(top, ".parquet"):
            parts = file.path.split("/")
            if f"venue={venue}" in parts and (not symbols or any(f"symbol={name}" in parts for name in symbols)):
                digest.update(f"{file.path} {file.stamp}\n".encode())
    return digest.hexdigest()


def key_of(inputs: str, code: str, settings: dict[str, Any]) -> str:
    """Of a stage's input files, the code that it runs, and those of its settings that matter."""
    told = {name: value for name, value in settings.items() if name not in WHERE_IT_RUNS}
    return hashlib.sha256(f"{inputs} {code} {msgspec.json.encode(told, order='sorted')!r}".encode()).hexdigest()
