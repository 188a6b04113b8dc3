"""How a machine comes up: the bash text that its first process runs, and the files that lie in it."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from midas_ray.cloud.fake import isolation
from midas_ray.cloud.fake.bridge import HOST
from midas_ray.errors import UsageError

INSIDE = Path("/run/machine")
"""Where the files of its set-up lie in the machine."""
BOOTED = "booted"
"""Said on stdout once its file systems are as they stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Most that files may take in a machine, MB: in memory, taken only as they grow."""

    home_mb: int = 8192
    tmp_mb: int = 8192
    shm_mb: int = 2048
    log_mb: int = 256


def script(state: Path, name: str, sizes: Sizes) -> str:
    """Bash: make the new namespaces a machine called `name` out of the files in `state`; stays, as its init."""
    folders = {
        isolation.home(): sizes.home_mb,
        Path("/tmp"): sizes.tmp_mb,
        Path("/var/tmp"): sizes.tmp_mb,
        Path("/var/log"): sizes.log_mb,
        Path("/dev/shm"): sizes.shm_mb,
    }
    run, files = shlex.quote(str(state / "run")), shlex.quote(str(state / "files"))
    return "\n".join(
        [
            "set -eu",
            'mount() { command mount --no-mtab "$@"; }  # what is noted of mounts lies under /run, which moves',
            f"hostname {shlex.quote(name)}",
            isolation.private_folders(state / "kept", folders, isolation.needed()),
            "mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts /dev/pts",
            "mount --bind /dev/pts/ptmx /dev/ptmx",
            f"mkdir {run} && mount -t tmpfs -o size=64m,mode=755 private {run} && mkdir {run}/sshd",
            f"cp -a {files} {run}/machine && mount --move {run} /run",
            *(f"mount --bind {INSIDE}/{file} /etc/{file}" for file in ("hosts", "hostname", "shadow")),
            f"if [ -e /etc/resolv.conf ]; then mount --bind {INSIDE}/resolv.conf /etc/resolv.conf; fi",
            f"cp -a {INSIDE}/home/. {shlex.quote(str(isolation.home()))}/",
            isolation.READ_ONLY,
            f"cd {shlex.quote(str(isolation.home()))}",
            f"echo {BOOTED}",
            "exec >/dev/null 2>&1",
            "while :; do sleep 1000000 & wait; done",
        ]
    )


def write_files(state: Path, name: str, address: str, port: int, env: dict[str, str], public_keys: str) -> None:
    """The machine's own part of /etc, its home and sshd's configuration, under `state`/files."""
    files, home = state / "files", state / "files" / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    (home / ".ssh" / "authorized_keys").write_text(public_keys.rstrip("\n") + "\n")
    (home / ".ssh" / "authorized_keys").chmod(0o600)
    # A login shell sets PATH anew, another reads .bashrc alone: an image sets it in both.
    path = f"export PATH={shlex.quote(env['PATH'])}\n"
    (home / ".bashrc").write_text(path)
    (home / ".profile").write_text(path)
    (files / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
    # Nobody answers there, and says so at once: names that are not in hosts are unknown without waiting.
    (files / "resolv.conf").write_text(f"nameserver {HOST}\noptions timeout:1 attempts:1\n")
    (files / "hostname").write_text(name + "\n")
    (files / "shadow").write_text(_unlocked(Path("/etc/shadow").read_text()))
    (files / "shadow").chmod(0o600)
    (files / "sshd_config").write_text(_sshd_config(port, env))


def _unlocked(shadow: str) -> str:
    """No password lets anybody in, and no account is locked: sshd refuses even a key for a locked one."""
    lines = (line.split(":") for line in shadow.splitlines())
    return "".join(":".join([name, "*", *rest]) + "\n" for name, _, *rest in lines)


def _sshd_config(port: int, env: dict[str, str]) -> str:
    lines = {
        "Port": str(port),
        "AddressFamily": "inet",
        "HostKey": f"{INSIDE}/host_key",
        "PidFile": f"{INSIDE}/sshd.pid",
        "PermitRootLogin": "prohibit-password",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "UsePAM": "no",
        "PrintMotd": "no",
        "PrintLastLog": "no",
        "Subsystem": "sftp internal-sftp",
        "SetEnv": " ".join(_assignment(name, value) for name, value in sorted(env.items())),
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _assignment(name: str, value: str) -> str:
    """One word of sshd's SetEnv. Raises UsageError where sshd cannot take it."""
    if "\n" in value or not name.replace("_", "a").isalnum():
        raise UsageError(f"fake machine: expected variables of one line, found {name}={value[:40]!r}")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}={escaped}"'
