"""The embedded PostgreSQL: first start, crashes of either side, and every folder it must refuse."""

# ruff: noqa: ASYNC240 - these tests drive real processes and folders, one at a time

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from structlog.testing import capture_logs

import app
from app.infra.dsn import Dsn, Host
from app.infra.postgres import EmbeddedPostgres, EmbeddedPostgresError, claim_data_dir
from app.infra.postgres_home import MARKER, Account, find_installation, reachable_installation

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from app.infra.postgres import EmbeddedPostgres

async def main():
    postgres = EmbeddedPostgres(Path(sys.argv[1]), durable=False, shared_buffers="16MB")
    await postgres.start()
    print(postgres.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def embedded(data_dir, **options):
    return EmbeddedPostgres(data_dir, **{"durable": False, "shared_buffers": "16MB", **options})


async def query(postgres, statement, *arguments):
    connection = await asyncpg.connect(postgres.url)
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


async def until(condition, what, patience=10.0):
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def url_of_running(data_dir):
    """Where another program's server listens: its pid file names the socket folder."""
    lines = (data_dir / "pg" / "postmaster.pid").read_text().splitlines()
    return f"postgresql://kassa@/crm_kassa?host={lines[4]}&port={lines[3]}"


@contextlib.contextmanager
def another_program(data_dir):
    """A second program that supervises a server on `data_dir`; yields it and the server's process number."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(app.__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-c", SUPERVISOR, str(data_dir)]
    with killed_at_last(command, env=environment, stdout=subprocess.PIPE, text=True) as program:
        server = int(program.stdout.readline())
        try:
            yield program, server
        finally:
            if lives(server):
                os.kill(server, signal.SIGKILL)


@contextlib.contextmanager
def killed_at_last(command, **options):
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_the_first_start_makes_a_closed_utf8_database_and_the_second_finds_its_data(tmp_path):
    data_dir = tmp_path / "made" / "by" / "us"
    postgres = embedded(data_dir)
    await postgres.start()
    pid = postgres.pid
    [row] = await query(
        postgres,
        """SELECT current_user, current_database(), current_setting('server_version_num')::int / 10000,
                  pg_encoding_to_char(encoding), current_setting('listen_addresses'), current_setting('TimeZone'),
                  lower('ЧЕК')
             FROM pg_database WHERE datname = current_database()""",
    )
    assert tuple(row) == ("kassa", "crm_kassa", 18, "UTF8", "", "UTC", "чек")
    [socket_host] = postgres.dsn.hosts
    assert stat.S_IMODE(Path(socket_host.name).stat().st_mode) == 0o700
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    await query(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    await postgres.stop()
    assert not lives(pid)
    assert not Path(socket_host.name).exists()

    async with embedded(data_dir) as again:
        assert (await query(again, "SELECT answer FROM kept"))[0]["answer"] == 42
        assert again.url == postgres.url
    assert again.pid is None


async def test_a_half_made_database_of_a_crashed_first_start_is_made_again(tmp_path):
    claim_data_dir(tmp_path)
    half_made = tmp_path / "pg-new-x"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")

    async with embedded(tmp_path) as postgres:
        assert await query(postgres, "SELECT 1")
    assert not half_made.exists()


@pytest.mark.parametrize("durable", [True, False])
async def test_committed_data_survives_a_kill_of_the_whole_server(tmp_path, durable):
    async with embedded(tmp_path, durable=durable) as postgres:
        assert (await query(postgres, "SHOW fsync"))[0][0] == ("on" if durable else "off")
        await query(postgres, "CREATE TABLE acknowledged (id int)")
        writer = await asyncpg.connect(postgres.url)
        for number in range(20):
            await writer.execute("INSERT INTO acknowledged VALUES ($1)", number)
        pid = postgres.pid
        await postgres.kill()
        assert not lives(pid)
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await writer.execute("INSERT INTO acknowledged VALUES (20)")
        writer.terminate()

        await postgres.start()

        assert (await query(postgres, "SELECT count(*) FROM acknowledged"))[0][0] == 20
        await postgres.restart()
        assert (await query(postgres, "SELECT count(*) FROM acknowledged"))[0][0] == 20


async def test_a_server_killed_by_somebody_else_is_noticed_and_waits_for_its_last_session(tmp_path):
    async with embedded(tmp_path) as postgres:
        ended = asyncio.create_task(postgres.wait())
        session = await asyncpg.connect(postgres.url)
        backend = session.get_server_pid()
        # A session that cannot notice the death holds the shared memory: starting over it would ruin the data.
        os.kill(backend, signal.SIGSTOP)
        os.kill(postgres.pid, signal.SIGKILL)
        await asyncio.wait_for(ended, 5)
        session.terminate()

        starting = asyncio.create_task(postgres.start())
        start_log = tmp_path / "postgres-start.log"
        await until(lambda: "pre-existing shared memory block" in start_log.read_text(), "the start must be held up")
        assert not starting.done()
        os.kill(backend, signal.SIGKILL)

        await asyncio.wait_for(starting, 10)
        assert await query(postgres, "SELECT 1")


async def test_a_server_ends_with_its_killed_program_and_the_data_stays(tmp_path):
    with another_program(tmp_path) as (program, server):
        connection = await asyncpg.connect(url_of_running(tmp_path))
        await connection.execute("CREATE TABLE kept (id int)")

        with pytest.raises(EmbeddedPostgresError, match=rf"in use by another CRM-Kassa \(process {program.pid}\)"):
            await embedded(tmp_path).start()
        await connection.execute("INSERT INTO kept VALUES (1)")  # the refused start did no harm

        program.send_signal(signal.SIGKILL)
        await until(lambda: not lives(server), "the server must end with its program")
        connection.terminate()

    async with embedded(tmp_path) as postgres:
        assert (await query(postgres, "SELECT count(*) FROM kept"))[0][0] == 1


async def test_a_server_left_behind_by_a_killed_program_is_replaced(tmp_path):
    with another_program(tmp_path) as (program, server):
        os.kill(server, signal.SIGSTOP)  # it cannot follow its program
        program.send_signal(signal.SIGKILL)
        program.wait()
        assert lives(server)

        with capture_logs() as logs:
            postgres = embedded(tmp_path)
            starting = asyncio.create_task(postgres.start())
            await until(lambda: logs, "the left-over must be noticed")
            os.kill(server, signal.SIGCONT)
            await starting

        assert logs == [{"event": "embedded_postgres_left_over_stopped", "pid": server, "log_level": "warning"}]
        assert not lives(server)
        assert postgres.pid != server
        assert await query(postgres, "SELECT 1")
        await postgres.stop()


async def test_a_pid_file_with_the_number_of_another_process_does_not_stop_the_start(tmp_path):
    postgres = embedded(tmp_path)
    await postgres.start()
    pid_file = tmp_path / "pg" / "postmaster.pid"
    remains = pid_file.read_text().splitlines()
    await postgres.kill()

    with killed_at_last(["sleep", "60"]) as stranger:
        for first_line in (str(stranger.pid), "not a number"):
            pid_file.write_text("\n".join([first_line, *remains[1:]]))
            await postgres.start()
            assert await query(postgres, "SELECT 1")
            await postgres.kill()
        assert stranger.poll() is None


async def test_a_server_that_a_person_started_on_the_folder_is_left_alone():
    # Not tmp_path: pytest closes it to the account that the server gets when root runs the tests.
    folder = Path(tempfile.mkdtemp(prefix="crm-kassa-test-"))
    try:
        postgres = embedded(folder)
        await postgres.start()
        await postgres.stop()
        folder.chmod(0o711)
        cluster = folder / "pg"
        owner = cluster.stat()
        user = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={cluster}"]
        command = [str(postgres.bin_dir / "postgres"), "-D", str(cluster), *options]
        with killed_at_last(command, stderr=subprocess.DEVNULL, cwd="/", **user) as server:
            pid_file = cluster / "postmaster.pid"
            await until(lambda: pid_file.exists() and "ready" in pid_file.read_text(), "the other server must start")

            with pytest.raises(EmbeddedPostgresError, match=rf"did not start \(process {server.pid}\)"):
                await postgres.start()

            assert server.poll() is None
            assert pid_file.exists()
            server.send_signal(signal.SIGINT)
            assert server.wait(10) == 0
        await postgres.start()
        await postgres.stop()
    finally:
        shutil.rmtree(folder)


async def test_two_servers_of_one_program_do_not_share_a_folder(tmp_path):
    async with embedded(tmp_path) as first:
        with pytest.raises(EmbeddedPostgresError, match=f"process {os.getpid()}.*data directory of its own"):
            await embedded(tmp_path).start()
        assert await query(first, "SELECT 1")


async def test_a_folder_that_is_not_ours_is_refused_and_untouched(tmp_path):
    (tmp_path / "report.txt").write_text("mine")

    with pytest.raises(EmbeddedPostgresError, match="not empty and was not made by CRM-Kassa"):
        await embedded(tmp_path).start()

    assert [path.name for path in tmp_path.iterdir()] == ["report.txt"]


def test_a_new_volume_with_only_lost_and_found_is_taken(tmp_path):
    (tmp_path / "lost+found").mkdir()

    assert claim_data_dir(tmp_path) == tmp_path
    assert (tmp_path / MARKER).exists()


async def test_a_file_and_the_data_of_another_server_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match="is a file"):
        await embedded(tmp_path / "file").start()

    (tmp_path / "PG_VERSION").write_text("18\n")
    with pytest.raises(EmbeddedPostgresError, match="data directory of another PostgreSQL server"):
        await embedded(tmp_path).start()


async def test_a_folder_of_another_user_is_refused(tmp_path):
    if os.geteuid() == 0:
        foreign = tmp_path / "theirs"
        foreign.mkdir()
        os.chown(foreign, 54321, 54321)
    else:
        foreign = Path("/usr")

    with pytest.raises(EmbeddedPostgresError, match=r"belongs to the user '(uid 54321|root)', and CRM-Kassa runs as"):
        await embedded(foreign).start()


async def test_a_database_of_another_version_or_none_is_refused_and_the_folder_stays_free(tmp_path):
    postgres = embedded(tmp_path)
    await postgres.start()
    await postgres.stop()
    version = tmp_path / "pg" / "PG_VERSION"

    version.write_text("16\n")
    with pytest.raises(EmbeddedPostgresError, match="was made by PostgreSQL 16, and this program brings 18"):
        await postgres.start()
    version.unlink()
    with pytest.raises(EmbeddedPostgresError, match="holds no PostgreSQL database"):
        await postgres.start()

    version.write_text("18\n")
    await postgres.start()
    await postgres.stop()


async def test_a_failed_start_says_why_and_leaves_nothing_behind(tmp_path):
    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "shared_buffers": "plenty"'):
        await embedded(tmp_path, shared_buffers="plenty").start()

    cancelled = embedded(tmp_path)
    starting = asyncio.create_task(cancelled.start())
    await until(lambda: cancelled.pid is not None, "a server process must be there to cancel")
    pid = cancelled.pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not lives(pid)

    async with embedded(tmp_path) as postgres:
        assert await query(postgres, "SELECT 1")


async def test_a_very_long_path_with_spaces_and_cyrillic_works(tmp_path):
    data_dir = tmp_path / ("касса " * 8 + "1") / ("x" * 90)

    async with embedded(data_dir) as postgres:
        [socket_host] = postgres.dsn.hosts
        assert len(socket_host.name) < 90 < len(str(data_dir))
        assert await query(postgres, "SELECT 1")
        engine = create_async_engine(postgres.sqlalchemy_url)
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT current_database()"))).scalar() == "crm_kassa"
        await engine.dispose()
    assert not Path(socket_host.name).exists()


async def test_the_url_forms_connect_and_a_dead_first_host_is_passed_over(tmp_path):
    async with embedded(tmp_path) as postgres:
        name = 'te st/"1"'
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("CREATE DATABASE " + '"te st/""1"""')
        await connection.close()
        spelt = Dsn.parse(postgres.sqlalchemy_url)
        assert spelt == postgres.dsn
        several = Dsn("kassa", None, (Host(str(tmp_path / "dead")), *spelt.hosts), name, target_session_attrs="primary")

        for dsn, database in ((spelt, "crm_kassa"), (spelt.with_database(name), name), (several, name)):
            connect = functools.partial(asyncpg.connect, dsn.asyncpg_dsn, timeout=2, **dsn.connect_kwargs)
            engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, pool_pre_ping=True)
            async with engine.connect() as session:
                assert (await session.execute(text("SELECT current_database()"))).scalar() == database
            await engine.dispose()


async def test_the_log_names_the_error_and_never_the_buyer(tmp_path):
    async with embedded(tmp_path) as postgres:
        await query(postgres, "CREATE TABLE buyer (email text UNIQUE CHECK (email <> ''))")
        await query(postgres, "INSERT INTO buyer VALUES ('buyer@example.org')")
        with pytest.raises(asyncpg.UniqueViolationError):
            await query(postgres, "INSERT INTO buyer VALUES ($1)", "buyer@example.org")
        with pytest.raises(asyncpg.UndefinedColumnError):
            await query(postgres, "SELECT nothing FROM buyer WHERE email = 'buyer@example.org'")
        await until(lambda: "does not exist" in postgres.log_tail(), "errors are logged")

        written = "".join(path.read_text() for path in (tmp_path / "pg" / "log").iterdir()) + postgres.log_tail()
    assert "duplicate key value" in written
    assert "buyer@example.org" not in written
    assert "STATEMENT:" not in written


def test_without_the_wheel_the_person_learns_both_ways_out():
    with pytest.raises(EmbeddedPostgresError, match=r"KASSA_DATABASE_URL.*'crm-kassa\[embedded\]'"):
        find_installation("no_such_package")


def test_binaries_in_a_closed_folder_are_copied_once_for_the_account_of_a_root_run_server(tmp_path):
    real = find_installation()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for folder in real.parent.parent.glob(f"{real.parent.name}*"):
        (closed / folder.name).symlink_to(folder)
    install = closed / real.parent.name / real.name
    account = Account("crm-kassa", 54321, 54321, switch=True)
    cache = tmp_path / "cache"

    copy = reachable_installation(install, account, cache)

    for program in ("postgres", "initdb"):
        binary = copy / "bin" / program
        assert stat.S_IMODE(binary.stat().st_mode) & 0o555 == 0o555
        assert all(
            stat.S_IMODE(part.stat().st_mode) & 0o055 == 0o055 for part in binary.parents if cache in part.parents
        )
        version = subprocess.run([binary, "--version"], capture_output=True, text=True, env={}, check=True).stdout
        assert "(PostgreSQL) 18" in version
    (copy / "kept").touch()
    assert reachable_installation(install, account, cache) == copy
    assert (copy / "kept").exists()
    assert len(list(cache.iterdir())) == 1
    assert reachable_installation(install, Account("me", os.geteuid(), 0, switch=False), cache) == install
