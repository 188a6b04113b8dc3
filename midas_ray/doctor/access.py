"""Who may do what: the cluster's token, the key of Vast.ai's account. Rights are looked at, contents never shown."""

import os
import stat
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from midas_ray import ray_token
from midas_ray.cloud.api_key import HEAD_KEY_FILE, KEY_FILE, VARIABLE, key_file, read_api_key
from midas_ray.cloud.errors import AuthError, VastError
from midas_ray.doctor.finding import Finding
from midas_ray.errors import UsageError

PATIENCE_S = 10.0


def check_mode() -> Finding:
    """Whether Ray's own commands show a token here, and a head that is started asks for one."""
    name, mode = "token authentication", os.environ.get(ray_token.MODE)
    try:
        wanted = ray_token.wanted()
    except UsageError as error:
        return Finding(name, str(error), False, f"export {ray_token.MODE}=token")
    if not wanted:
        advice = f"whoever reaches a dashboard that is started so runs code here: export {ray_token.MODE}=token"
        return Finding(name, f"{ray_token.MODE}={mode}", False, advice)
    if mode is None:
        advice = f"midas asks for it all the same; Ray's own commands need it: export {ray_token.MODE}=token"
        return Finding(name, f"{ray_token.MODE} is not set", None, advice)
    return Finding(name, f"{ray_token.MODE}={mode}", True)


def check_token_file() -> Finding:
    """The file of the cluster's token: there, for its owner alone, not empty."""
    name, path = "cluster's token", ray_token.default_path()
    if os.environ.get(ray_token.TOKEN):
        found = f"in the environment ({ray_token.TOKEN})"
        return Finding(name, found, None, f"a file is safer: unset it, name the file in {ray_token.TOKEN_PATH}")
    if not path.exists():
        return Finding(name, f"none yet at {path}", None, "midas up and ray up make it; or copy the head's")
    wrong = _wrong_rights(name, path)
    if wrong is not None:
        return wrong
    if not path.stat().st_size:
        return Finding(name, f"{path} is empty", False, "delete it: midas up and ray up make another")
    return Finding(name, f"{path}, for its owner alone", True)


def check_vast_keys() -> Iterator[Finding]:
    """The account's key here, and on a head what `ray up` brought there."""
    name = "Vast.ai key"
    there = [path for path in (KEY_FILE.expanduser(), HEAD_KEY_FILE.expanduser()) if path.exists()]
    if not there and not os.environ.get(VARIABLE, "").strip():
        advice = f"only to rent GPUs: {VARIABLE}, or a 0600 file {KEY_FILE}; https://cloud.vast.ai/manage-keys/"
        yield Finding(name, "none", None, advice)
        return
    if os.environ.get(VARIABLE, "").strip():
        yield Finding(name, f"in the environment ({VARIABLE})", True)
    for path in there:
        yield _wrong_rights(name, path) or _readable(name, path)


def check_vast_account(url: str) -> Finding:
    """Whether Vast.ai takes the key, and has credit for it. Asks its API."""
    name = "Vast.ai account"
    if find_spec("httpx") is None:
        return Finding(name, "not asked: no package httpx", None, "pip install 'midas-ray[cloud]'")
    from midas_ray.cloud.client import VastClient

    try:
        with VastClient(read_api_key(key_file()), url, total_s=PATIENCE_S) as client:
            credit = client.account().credit
    except AuthError as error:
        return Finding(name, str(error), False)
    except (VastError, UsageError) as error:
        return Finding(name, str(error), None, "whether the key is taken is unknown")
    found = f"the key is accepted, ${credit:.2f} of credit"
    return Finding(name, found, credit > 0, "nothing can be rented: add credit, https://cloud.vast.ai/billing/")


def _wrong_rights(name: str, path: Path) -> Finding | None:
    """Where others than its owner may read a secret."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & ray_token.OTHERS:
        return None
    return Finding(name, f"{path} can be read by others ({mode:04o})", False, f"chmod 600 {path}")


def _readable(name: str, path: Path) -> Finding:
    try:
        content = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        return Finding(name, f"{path}: {type(error).__name__}", False, "write the key into it anew, as one line")
    if not content:
        return Finding(name, f"{path} is empty", False, "write the key into it, as one line")
    return Finding(name, f"{path}, for its owner alone", True)
