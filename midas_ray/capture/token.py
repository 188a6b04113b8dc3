"""The token without which nothing joins, asks or submits jobs to a head that `midas up` starts.

It lies where Ray itself looks for it, so that `ray job submit` on this machine needs RAY_AUTH_MODE=token and nothing
else, and a laptop a copy of the file. It is given on as a path, never as text: not on a command line, not in a log.
"""

import os
import secrets
from pathlib import Path

from midas_ray.errors import UsageError

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
TOKEN_BYTES = 32
OTHERS = 0o077


def wanted() -> bool:
    """Whether a head that is started now asks for a token: always, but where the environment says otherwise."""
    mode = os.environ.get(MODE, "token").lower()
    if mode not in ("token", "disabled"):
        raise UsageError(f"{MODE}: expected token or disabled, found {mode!r}")
    return mode == "token"


def default_path() -> Path:
    """Where the token lies: RAY_AUTH_TOKEN_PATH, else Ray's own place in the home folder."""
    named = os.environ.get(TOKEN_PATH)
    return Path(named).expanduser().absolute() if named else Path.home() / ".ray" / "auth_token"


def ensure_token() -> Path:
    """The file that holds the token; made where there is none, with rights for its owner alone.

    Raises UsageError where it cannot be read or made, or the environment holds another token.
    """
    path = default_path()
    given = os.environ.get(TOKEN)
    try:
        if not path.exists():
            _write(path, given or secrets.token_hex(TOKEN_BYTES))
        elif path.stat().st_mode & OTHERS:  # Ray writes it readable by everyone
            path.chmod(0o600)
        kept = path.read_text().strip()
    except OSError as error:
        raise UsageError(
            f"token of the Ray head node: cannot use {path} ({error.strerror}); name another file in {TOKEN_PATH}"
        ) from None
    if not kept:
        raise UsageError(f"token of the Ray head node: expected one in {path}, found an empty file; delete it")
    if given is not None and given.strip() != kept:
        raise UsageError(
            f"{TOKEN}: expected the token in {path}, found another one; unset it, or name its own file in {TOKEN_PATH}"
        )
    return path


def _write(path: Path, token: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
    try:
        os.link(temporary, path)  # not over one that another process has made in the meantime
    except FileExistsError:
        return
    finally:
        temporary.unlink()


def use_token(path: str | None) -> None:
    """Make this process show the token in `path` to the head, or none; call before the first `import ray`."""
    if path is None:
        os.environ[MODE] = "disabled"
        return
    os.environ[MODE] = "token"
    os.environ[TOKEN_PATH] = path
    os.environ.pop(TOKEN, None)  # Ray would take it before the file
