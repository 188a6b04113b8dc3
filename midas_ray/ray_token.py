"""The token without which nothing joins a head that `midas up` starts, asks it, or submits jobs to it.

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
ANSWER_S = 5.0


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
    """Make this process show the token in `path` to a cluster, or none; call before the first `import ray`."""
    if path is None:
        os.environ[MODE] = "disabled"
        return
    os.environ[MODE] = "token"
    os.environ[TOKEN_PATH] = path
    os.environ.pop(TOKEN, None)  # Ray would take it before the file


def show_own_token() -> None:
    """Make this process show its user's token to whatever cluster it joins, if there is one; call before the first
    `import ray`, which would not do so by itself. The environment may say otherwise."""
    os.environ.setdefault(MODE, "disabled" if _own_token() is None else "token")


def check_accepted(address: str, what: str) -> None:
    """Raises UsageError where the cluster at host:port asks for another token than this process has.

    Ray itself would try for 20 s, and then say that it cannot connect. what: begins the message.
    """
    import grpc  # type: ignore[import-untyped]

    shown = None if os.environ.get(MODE, "").lower() != "token" else _own_token()
    metadata = () if shown is None else (("authorization", f"Bearer {shown}"),)
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            ask(b"", timeout=ANSWER_S, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                return  # that it does not answer is for Ray to say
        else:
            return
    found = "none" if shown is None else f"another one ({_where()})"
    raise UsageError(
        f"{what}: expected the cluster's token, found {found}; copy ~/.ray/auth_token from the machine where midas up "
        f"runs, and unset {MODE} and {TOKEN}"
    )


def _own_token() -> str | None:
    """What Ray would show: of the environment, else of the file."""
    given = os.environ.get(TOKEN)
    if given:
        return given.strip()
    try:
        return default_path().read_text().strip() or None
    except OSError:
        return None


def _where() -> str:
    return TOKEN if os.environ.get(TOKEN) else str(default_path())
