"""PostgreSQL from a wheel as a child process of ours: first start, readiness, shutdown, and what a crash left behind.

One program owns one data directory. The server listens on a unix socket only, in a folder closed to other users, and
ends with the program, also when that is killed.
"""

import asyncio
import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import asyncpg
import structlog

from app.infra import postgres_exec
from app.infra.dsn import Dsn, Host
from app.infra.postgres_home import (
    SOCKET_NAME,
    DataDirInUse,
    EmbeddedPostgresError,
    Home,
    claim_data_dir,
    lock,
    prepare,
)
from app.infra.postgres_process import children, exists, is_named, recorded_pid, serves

__all__ = ["DATABASE", "SUPERUSER", "DataDirInUse", "EmbeddedPostgres", "EmbeddedPostgresError", "claim_data_dir"]

SUPERUSER = "kassa"
DATABASE = "crm_kassa"
# What it says before its log collector runs, and why it did not start.
_START_LOG = "postgres-start.log"
_POLL = 0.02
_LAST_RESORT = 10.0
# A killed server's sessions hold the shared memory until they notice; the next server has to wait for them.
_STILL_HELD = re.compile(r"pre-existing shared memory block|lock file \S+ already exists")

# How a server that is starting, or still recovering, turns a caller away.
_NOT_YET = (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError, asyncpg.InternalClientError)

_log = structlog.get_logger(__name__)

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    # A week of files by name, each emptied when its day comes again.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_timezone": "UTC",
    # Statements, parameters and the DETAIL of errors carry buyers' contacts.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
if sys.platform == "linux":
    # After a crash the server makes its whole folder durable before it answers. File by file that took seconds on a
    # busy disk, and payments were refused for as long; one call per file system takes milliseconds (Linux 5.8 on).
    _SETTINGS["recovery_init_sync_method"] = "syncfs"
# Not synchronous_commit=off: it gains 4 % without fsync and would lose commits when only the server is killed.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """A PostgreSQL server on `data_dir`, for the default run and for tests.

    `durable=False` is for tests: commits survive the death of the server, not of the machine. `settings` override
    server settings. Times are seconds. Every method raises `EmbeddedPostgresError` with a text for people.
    Start it from a thread that lives as long as the program: Linux ends the server with the thread that started it.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        durable: bool = True,
        shared_buffers: str = "128MB",
        max_connections: int = 200,
        settings: Mapping[str, str] | None = None,
        start_timeout: float = 60.0,
        stop_timeout: float = 20.0,
    ) -> None:
        self._wanted_dir = data_dir
        self._durable = durable
        self._settings = {
            **_SETTINGS,
            **({} if durable else _NOT_DURABLE),
            "shared_buffers": shared_buffers,
            "max_connections": str(max_connections),
            **(settings or {}),
        }
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._home: Home | None = None
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def dsn(self) -> Dsn:
        """The database `crm_kassa` as the superuser, over the unix socket."""
        socket_dir = Host(str(self._ready_home.socket_dir))
        return Dsn(user=SUPERUSER, password=None, hosts=(socket_dir,), database=DATABASE, ssl_mode="disable")

    @property
    def url(self) -> str:
        """`dsn` as a string for `asyncpg.connect`, `psql` and KASSA_DATABASE_URL."""
        return self.dsn.asyncpg_dsn

    @property
    def sqlalchemy_url(self) -> str:
        """The same for `sqlalchemy.ext.asyncio.create_async_engine`."""
        host = quote(str(self._ready_home.socket_dir))
        return f"postgresql+asyncpg://{SUPERUSER}@/{DATABASE}?host={host}&port=5432"

    @property
    def data_dir(self) -> Path:
        return self._ready_home.data_dir

    @property
    def bin_dir(self) -> Path:
        """The folder of `psql`, `pg_dump`, `pg_basebackup` of the same version."""
        return self._ready_home.bin_dir

    @property
    def pid(self) -> int | None:
        """The process of the server while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def start(self) -> None:
        """Return when the server answers and the database exists; about a second the first time, less later.

        A server of ours that a killed program left behind is stopped first. Refuses a data directory that another
        program uses or that is not ours.
        """
        if self.pid is not None:
            return
        await self.stop()
        deadline = time.monotonic() + self._start_timeout
        try:
            data_dir = claim_data_dir(self._wanted_dir)
            self._lock = lock(data_dir)
            self._home = home = await asyncio.to_thread(prepare, data_dir)
            await self._clear_left_over(home)
            if not home.cluster.exists():
                await self._initialise(home)
            await self._launch(home, deadline)
            await self._create_database()
        except OSError as error:
            self._give_up()
            raise EmbeddedPostgresError(
                f"The embedded PostgreSQL cannot use {error.filename or self._wanted_dir}: "
                f"{error.strerror or type(error).__name__}. Check the rights and the free space, or choose another "
                "data directory."
            ) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            self._give_up()
            raise EmbeddedPostgresError(f"PostgreSQL started but refuses CRM-Kassa: {error}.") from error
        except BaseException:
            self._give_up()
            raise

    async def stop(self) -> None:
        """Shut down cleanly, by force when that takes longer than `stop_timeout`; harmless when nothing runs."""
        process = self._process
        if process is not None:
            for sign, patience in ((signal.SIGINT, self._stop_timeout), (signal.SIGQUIT, _LAST_RESORT)):
                process.send_signal(sign)
                if await _until(lambda: process.poll() is not None, patience):
                    break
                _log.warning("embedded_postgres_slow_to_stop", pid=process.pid, signal=sign.name, waited=patience)
        self._give_up()

    async def kill(self) -> None:
        """Kill the server with all its sessions at once, as a crash would; `start` brings it back."""
        self._give_up()

    async def restart(self) -> None:
        """Stop if it runs, and start again at the same address."""
        await self.stop()
        await self.start()

    async def wait(self) -> None:
        """Return when the server has ended, whoever ended it; a caller that did not stop it starts it again."""
        while self.pid is not None:  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.1)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines the server wrote, for a message to the operator."""
        home = self._ready_home
        files = [home.data_dir / _START_LOG]
        files += sorted((home.cluster / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)[-1:]
        # The second file belongs to the server's account: a link in its place must not lead root elsewhere.
        files = [path for path in files if path.is_file() and not path.is_symlink()]
        texts = [path.read_text("utf-8", "replace").splitlines() for path in files]
        return "\n".join([line for text in texts for line in text[-lines:]])

    @property
    def _ready_home(self) -> Home:
        if self._home is None:
            raise EmbeddedPostgresError("The embedded PostgreSQL was not started.")
        return self._home

    async def _clear_left_over(self, home: Home) -> None:
        """Make room after a crash. The lock is ours, so no living program of ours supervises what still runs."""
        pid_file = home.cluster / "postmaster.pid"
        pid = recorded_pid(pid_file)
        if pid is not None and is_named(pid, home.cluster_name):
            _log.warning("embedded_postgres_left_over_stopped", pid=pid)
            for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sign)
                if await _until(functools.partial(_gone, pid, home.cluster_name), _LAST_RESORT):
                    break
        elif pid is not None and serves(pid, home.cluster):
            raise EmbeddedPostgresError(
                f"A PostgreSQL server that CRM-Kassa did not start (process {pid}) uses {home.cluster}. Stop it with "
                f"kill -INT {pid}, then start again."
            )
        # PostgreSQL takes any process with the recorded number for a living server: another program that has it after
        # a reboot or in a new container, or a dead one that nobody reaped. It handles a free number itself.
        pid = recorded_pid(pid_file)
        if pid is None or exists(pid):
            pid_file.unlink(missing_ok=True)
        _remove_sockets(home)

    async def _initialise(self, home: Home) -> None:
        """initdb beside the final place, then one rename: a crash in between leaves nothing half-made."""
        for unfinished in home.data_dir.glob("pg-new-*"):
            await asyncio.to_thread(shutil.rmtree, unfinished, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="pg-new-", dir=home.data_dir))
        if home.account.switch:
            os.chown(fresh, home.account.uid, home.account.gid)
        options = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += [f"--username={SUPERUSER}", "--auth-local=trust", "--auth-host=reject", "--no-instructions"]
        options += [] if self._durable else ["--no-sync"]
        self._process = self._spawn(home, "initdb", fresh, options)
        if not await _until(lambda: self.pid is None, self._start_timeout) or self._process.returncode != 0:
            raise EmbeddedPostgresError(f"The database could not be created in {home.data_dir}:\n{self.log_tail()}")
        self._process = None
        _keep(fresh, home.cluster)

    async def _launch(self, home: Home, deadline: float) -> None:
        settings = {
            **self._settings,
            "unix_socket_directories": f'"{home.socket_dir}"',
            "cluster_name": home.cluster_name,  # by which the next start knows it as ours
        }
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        patience = time.monotonic() + _LAST_RESORT
        while True:
            self._process = self._spawn(home, "postgres", home.cluster, arguments)
            if await self._answers(deadline):
                return
            if self.pid is not None:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not become ready within {self._start_timeout:g} seconds. Its log ends:\n"
                    f"{self.log_tail()}"
                )
            said = (home.data_dir / _START_LOG).read_text("utf-8", "replace")
            if not _STILL_HELD.search(said) or time.monotonic() > min(patience, deadline):
                raise EmbeddedPostgresError(f"PostgreSQL did not start. Its log ends:\n{self.log_tail()}")
            await asyncio.sleep(_POLL)

    async def _answers(self, deadline: float) -> bool:
        while self.pid is not None and time.monotonic() < deadline:
            try:
                async with self._session():
                    return True
            except _NOT_YET:
                await asyncio.sleep(_POLL)
        return False

    async def _create_database(self) -> None:
        async with self._session() as connection:
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", DATABASE):
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[asyncpg.Connection]:
        dsn = self.dsn.with_database("postgres")
        connection = await asyncpg.connect(dsn.asyncpg_dsn, timeout=5, **dsn.connect_kwargs)
        try:
            yield connection
        finally:
            await connection.close()

    def _spawn(self, home: Home, program: str, folder: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
        account = home.account
        user = (account.uid, account.gid) if account.switch else (-1, -1)
        command = [sys.executable, "-I", "-S", postgres_exec.__file__, str(os.getpid()), *(str(id_) for id_ in user)]
        command += [str(home.bin_dir / program), "-D", home.as_seen_by_server(folder), *arguments]
        with (home.data_dir / _START_LOG).open("wb") as output:
            # A session of its own: Ctrl-C in the terminal reaches us first, and we stop the server last.
            return subprocess.Popen(  # noqa: S603 - our own program and arguments
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, start_new_session=True
            )

    def _give_up(self) -> None:
        """Kill what still runs and let go of the data directory; quick, and safe in every state."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGSTOP)  # so that it starts no session behind our back
            sessions = children(process.pid)
            for target in (process.pid, *sessions):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(target, signal.SIGKILL)
            process.wait()
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            if self._home is not None:
                _remove_sockets(self._home)
                with contextlib.suppress(OSError):
                    self._home.socket_dir.rmdir()  # it may be in /tmp, where nobody else would
            os.close(descriptor)


async def _until(happened: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not happened():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL)
    return True


def _gone(pid: int, cluster_name: str) -> bool:
    return not is_named(pid, cluster_name)


def _remove_sockets(home: Home) -> None:
    """Only while we hold the lock and no server of ours runs."""
    for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (home.socket_dir / name).unlink(missing_ok=True)


def _keep(fresh: Path, cluster: Path) -> None:
    fresh.rename(cluster)
    folder = os.open(cluster.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
