"""Whether a data folder is laid out as this version writes it."""

from pathlib import Path

from midas_ray.errors import UsageError

PARTITION = "venue="


def check_layout(root: Path) -> None:
    """Raises UsageError where DATA_DIR/raw holds folders that are no Hive partitions: an older version's."""
    try:
        found = sorted(entry.name for entry in (root / "raw").iterdir() if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in found:
        if not name.startswith((PARTITION, ".")):
            raise UsageError(
                f"{root / 'raw' / name}: expected raw/venue=VENUE/symbol=SYMBOL/date=DATE, found the layout of another "
                "version; move it away (midas import can read its files), or choose another --data-dir"
            )
