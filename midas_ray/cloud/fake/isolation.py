"""What a namespace sees of this machine: its own empty folders in place of the private ones, the rest as it is.

Bash text, run by the first process of a new mount namespace: whatever it mounts is gone with the last process in it.
"""

import pwd
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

RUN = Path("/run/midas-machines")
"""State of all machines, in a file system of the outer namespace's own."""


def home() -> Path:
    """Root's home, which sshd and bash go by."""
    return Path(pwd.getpwuid(0).pw_dir)


def needed() -> list[Path]:
    """Folders that this Python and this code come from: they stay where a folder around them is replaced."""
    return _outermost([sys.prefix, sys.base_prefix, *filter(None, sys.path), str(Path(__file__).parents[3])])


def _outermost(names: Iterable[str]) -> list[Path]:
    paths = sorted({Path(name).resolve() for name in names if Path(name).exists()})
    kept: list[Path] = []
    for path in paths:
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return kept


def private_folders(stash: Path, sizes_mb: dict[Path, int], kept: Iterable[Path]) -> str:
    """Bash: an empty file system at each folder of `sizes_mb`, of at most so many MB; `kept` stay visible in them.

    stash: folder outside of `sizes_mb`, where `kept` lie meanwhile.
    """
    inside = [path for path in kept if any(folder in path.parents for folder in sizes_mb)]
    aside, back = [], []
    for number, path in enumerate(inside):
        at, place = shlex.quote(str(stash / str(number))), shlex.quote(str(path))
        make = "mkdir -p" if path.is_dir() else "touch"
        aside.append(f"{make} {at} && mount --rbind {place} {at}")
        back.append(f"mkdir -p {shlex.quote(str(path.parent))} && {make} {place} && mount --move {at} {place}")
    mounts = []
    for folder, size in sizes_mb.items():
        mode = "700" if folder == home() else "1777"
        mounts.append(f"mount -t tmpfs -o size={size}m,mode={mode} private {shlex.quote(str(folder))}")
    return "\n".join([f"mkdir -p {shlex.quote(str(stash))}", *aside, *mounts, *back])


READ_ONLY = r"""
# Nothing outside of its own file systems can be changed from in here.
declare -A top
while read -r _ _ _ _ at _ fields; do top[$at]=${fields#*- }; done < <(cat /proc/self/mountinfo)
for at in "${!top[@]}"; do
    read -r type source _ <<< "${top[$at]}"
    case $type in proc | sysfs | devtmpfs | devpts | cgroup* | mqueue | binfmt_misc) continue ;; esac
    at=$(printf '%b' "$at")
    if [ "$source" != private ] && mountpoint -q "$at"; then mount -o remount,bind,ro "$at"; fi
done
"""
"""Bash: every mounted file system becomes read-only, but the kernel's own and those called `private`."""
