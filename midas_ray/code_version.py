"""Which code made a table: part of every key, so that what changed code makes differently is made again."""

import functools
import hashlib
from pathlib import Path

from midas_ray import __version__


@functools.cache
def code_version(*packages: str) -> str:
    """The version of MIDAS and a hash of the sources of these packages, such as `3.0.0+1f3a9c02`."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted((Path(__file__).parent / package).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:8]}"
