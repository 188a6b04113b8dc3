"""DATA_DIR/checkpoints/<run>/: what a training that was cut off goes on from. Gone when its model is written.

Ray Train keeps its checkpoints and its own state there, on a disk or in an object store; `training.json` beside them
says what the training is of, so that `midas train --resume` goes on with the same windows and settings, or refuses.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.fs as pafs

from midas_ray import __version__
from midas_ray.errors import CorruptFileError, SchemaError, UsageError
from midas_ray.ray_session import is_private
from midas_ray.storage import Storage

CHECKPOINT_VERSION = 1
ROOT = "checkpoints"
RECORD = "training.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """What a resumed training must find again."""

    settings: dict[str, Any]
    """Of `midas train`, as JSON."""
    last_ts_us: int
    """Last row of the features it began with: later ones are left out when it goes on."""
    digest: str
    """Of its windows (`TrainingSet.digest`)."""
    checkpoint_version: int = CHECKPOINT_VERSION
    midas_ray: str = __version__

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()


def read_record(storage: Storage, path: str, flag: str) -> TrainingRecord:
    """Raises SchemaError where it is another version's, CorruptFileError where it is none. `flag`: who asks."""
    try:
        stored = json.loads(storage.read_bytes(path))
        version, by = stored["checkpoint_version"], stored["midas_ray"]
        if version != CHECKPOINT_VERSION:
            raise SchemaError(
                f"{flag}: expected checkpoints of version {CHECKPOINT_VERSION}, found version {version} of midas_ray "
                f"{by}; resume with that version, or begin anew"
            )
        return TrainingRecord(**stored)
    except (ValueError, KeyError, TypeError):
        raise CorruptFileError(
            f"{storage.shown_path(path)}: expected the record of a training, found something else; begin anew"
        ) from None


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, storage: Storage, run_id: str) -> None:
        self.storage, self.run_id = storage, run_id
        self._folder = f"{ROOT}/{run_id}"

    @property
    def root(self) -> str:
        """The folder of all runs, as `storage.fs` names it."""
        return f"{self.storage.root}/{ROOT}"

    def everywhere(self) -> pafs.FileSystem:
        """`storage.fs` as any node of the running Ray reaches it: a local folder by way of this machine's actor."""
        if not self.storage.is_local or is_private():
            return self.storage.fs
        from midas_ray.relayed_fs import open_relayed

        return open_relayed(self.root)

    def begin(self, record: TrainingRecord) -> None:
        self.storage.write_bytes(f"{self._folder}/{RECORD}", record.to_json())

    def read(self) -> TrainingRecord:
        """Raises UsageError where there is no such training, SchemaError where it is another version's."""
        path = f"{self._folder}/{RECORD}"
        if not self.storage.exists(path):
            known = ", ".join(unfinished(self.storage)) or "none"
            raise UsageError(f"--resume {self.run_id}: expected an unfinished training, found {known}")
        return read_record(self.storage, path, f"--resume {self.run_id}")

    def exist(self) -> bool:
        """Whether at least one epoch has been kept."""
        return any("/checkpoint_" in path for path in self.storage.list_files(self._folder))

    def delete(self) -> None:
        """Remove all of this training."""
        full = f"{self.storage.root}/{self._folder}"
        if self.storage.fs.get_file_info(full).type == pafs.FileType.Directory:
            self.storage.fs.delete_dir(full)


def unfinished(storage: Storage) -> list[str]:
    """Trainings that have checkpoints: they are running, or were cut off."""
    return [path.split("/")[1] for path in storage.list_files(ROOT, f"/{RECORD}")]
