"""Where the Vast.ai API key comes from: the environment, else a file that only its owner can read. Never printed."""

import os
import stat
from pathlib import Path

from midas_ray.cloud.errors import AuthError

VARIABLE = "VAST_API_KEY"
KEY_FILE = Path("~/.config/vastai/vast_api_key")
"""Where the official CLI (`vastai set api-key`) keeps it."""
HEAD_KEY_FILE = Path("~/.midas/vast_api_key")
"""Where `ray up` brings it to on a head. It never goes to a rented node."""


def key_file() -> Path:
    """The file of the key on this machine: the official CLI's, or on a head without one what `ray up` brought."""
    on_head = HEAD_KEY_FILE.expanduser().exists() and not KEY_FILE.expanduser().exists()
    return HEAD_KEY_FILE if on_head else KEY_FILE


def read_api_key(key_file: Path = KEY_FILE) -> str:
    """The account's key: `VAST_API_KEY`, else the content of `key_file` (mode 0600). Raises AuthError with one line."""
    key = os.environ.get(VARIABLE, "").strip()
    if not key:
        key = _of_file(key_file.expanduser())
    if not key.isascii() or not key.isprintable() or " " in key:
        raise AuthError(
            f"Vast.ai API key: expected one word of printable ASCII in {VARIABLE} or {key_file}, found other characters"
        )
    return key


def _of_file(path: Path) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise AuthError(
                f"{path}: expected a key file that only its owner can read (0600), found {mode:04o}: chmod 600 {path}"
            )
        key = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise AuthError(
            f"no Vast.ai API key: expected {VARIABLE} in the environment or a 0600 file {path}, found neither; "
            "https://cloud.vast.ai/manage-keys/ makes one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise AuthError(f"{path}: expected a readable file with the Vast.ai API key, found: {error}") from None
    if not key:
        raise AuthError(f"{path}: expected the Vast.ai API key, found an empty file")
    return key
