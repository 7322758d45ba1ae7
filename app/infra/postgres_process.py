"""What the process table says about a PostgreSQL server that a pid file names."""

import os
import re
import subprocess
from pathlib import Path

_SERVER = re.compile(r"(/.*/)?postgres( |$)")


def recorded_pid(pid_file: Path) -> int | None:
    """The process number in `postmaster.pid`; None when there is no file or no number in it."""
    try:
        return int(pid_file.read_text("utf-8", "replace").split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def exists(pid: int) -> bool:
    """Whether the number is taken, also by a dead process that nobody reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_named(pid: int, cluster_name: str) -> bool:
    """Whether the process is a living server that was started with this `cluster_name`."""
    command = _command_line(pid)
    return bool(_SERVER.match(command)) and f"cluster_name={cluster_name}" in command


def serves(pid: int, cluster: Path) -> bool:
    """Whether the process is a living server on this folder: a number in a pid file may by now be anything.

    In doubt (a server started with a path that only it can follow) the pid file is believed.
    """
    command = _command_line(pid)
    if not _SERVER.match(command):
        return False
    folder = re.search(r" -D (/(?!proc/self/).*?)(?= -\w|$)", command)
    return folder is None or Path(folder[1]).resolve() == cluster


def _command_line(pid: int) -> str:
    """Program and arguments; empty for a process that is gone or dead but not reaped.

    From `/proc/…/cmdline`, which everybody may read: links such as `cwd` are closed to root in a container.
    """
    try:
        if Path("/proc/self/cmdline").exists():
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def children(pid: int) -> list[int]:
    """The sessions of a server, each a process group of its own. Empty without `/proc`; they end by themselves."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
