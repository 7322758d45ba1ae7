"""Has imported the program once and forks its processes: a start of Python costs more than a core has between kills.

`python -m tests.chaos.nursery`: one JSON order a line on standard input, one line of answer for every birth and every
death. When its input ends, so do its children. What it forks runs the program's own command line, with a planted bug
when CHAOS_BUG names one of `tests.chaos.bugs`; KASSA_TESTING must be set, and nothing else ever plants one.
"""

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

_IMPORTED = (
    "app.cli",
    "app.cli.worker_process",
    "app.cli.api_process",
    "app.main",
    "app.runtime",
    "app.kassas.atol",
    "app.acquirers.cloudpayments.adapter",
    "holidays.countries",
    "uvicorn",
    "uvloop",
)

_OURS = ("tests.chaos.bugs", "tests.chaos.clock", "tests.chaos.drivers.class_a", "app.kassas.digitalkassa")


def main() -> None:
    for name in (*_IMPORTED, *_OURS):
        importlib.import_module(name)
    # What a child's collector does not search, its start need not copy.
    gc.collect()
    gc.freeze()
    children: set[int] = set()
    awake, wake = os.pipe()
    os.set_blocking(awake, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    waiting = selectors.DefaultSelector()
    waiting.register(sys.stdin, selectors.EVENT_READ)
    waiting.register(awake, selectors.EVENT_READ)
    rest = b""
    _say({"ready": True})
    try:
        while True:
            for key, _ in waiting.select():
                if key.fileobj is sys.stdin:
                    read = os.read(0, 65_536)
                    if not read:
                        return
                    *lines, rest = (rest + read).split(b"\n")
                    for line in lines:
                        pid = _bear(json.loads(line))
                        children.add(pid)
                        _say({"born": pid})
                else:
                    os.read(awake, 4096)
            _reap(children)
    finally:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _reap(children: set[int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status, used = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            children.discard(pid)
            _say({"dead": pid, "code": os.waitstatus_to_exitcode(status), "cpu": used.ru_utime + used.ru_stime})


def _bear(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _live(order)
    return pid


def _live(order: dict[str, Any]) -> NoReturn:
    """The child: as if it had been started by a shell."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for which in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(which, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        os.closerange(3, 64)
        os.environ.update(order["env"])
        sys.argv = ["crm-kassa", *order["arguments"]]
        if os.environ.get("CHAOS_CLOCK") and os.environ.get("KASSA_TESTING"):
            importlib.import_module("tests.chaos.clock").follow(Path(os.environ["CHAOS_CLOCK"]))
        if os.environ.get("CHAOS_BUG") and os.environ.get("KASSA_TESTING"):
            importlib.import_module("tests.chaos.bugs").plant(os.environ["CHAOS_BUG"])
        importlib.import_module("app.cli").main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
