"""Where on this machine lies what an object store cannot hold: growing journals, logs, the collectors' plan."""

import hashlib
import os
import re
from pathlib import Path


def spool_folder(spool_dir: str | None, root: str, identity: str) -> Path:
    """The folder of one store under `spool_dir`, or under the user's state folder (XDG_STATE_HOME).

    root: the store's bucket and prefix, which the folder is named by. identity: tells it from others of that name.
    """
    if spool_dir:
        top = Path(spool_dir).expanduser().resolve()
    else:
        top = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "midas" / "spool"
    name = re.sub(r"[^A-Za-z0-9._]+", "-", root).strip("-.")[:60]
    return top / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
