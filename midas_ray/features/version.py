"""Which code made a feature: part of every key, so that a changed formula is recomputed."""

import functools
import hashlib
from pathlib import Path

from midas_ray import __version__


@functools.cache
def code_version() -> str:
    """The package's version and a hash of the sources in this folder, such as `3.0.0+1f3a9c02`."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:8]}"
