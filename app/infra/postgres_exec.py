"""The last step before PostgreSQL: a fresh process drops root, ties its life to ours, and becomes the program.

Run by path as `python -I -S postgres_exec.py PARENT_PID UID GID PROGRAM ARGUMENT…`; UID -1 keeps the user. A process of
its own, because Python code between fork and exec (`preexec_fn`) can deadlock in a program with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    parent, uid, gid = (int(word) for word in argv[:3])
    command = argv[3:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o077)
    # Only now: a change of user clears the death signal. SIGINT is PostgreSQL's fast, clean shutdown.
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        raise SystemExit("the starting program has ended")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # An environment of its own: ours holds keys, and PG* variables would change what the server does.
    os.execve(command[0], command, {"LC_ALL": "C", "PATH": os.defpath})  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
