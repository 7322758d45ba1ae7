"""Disks that are full: a small one of a server's own, and tables of a shared server that take no more rows."""

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

_PIECE = bytes(1 << 16)


class SmallDisk:
    """A file system of its own that can be filled to the last byte."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Nobody else finds a block on it from now on; again, it takes what became free."""
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while file.write(_PIECE):
                pass

    def clear(self) -> None:
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """A tmpfs at `path`. Skips the test where this process may not mount one."""
    path.mkdir()
    options = f"size={megabytes}m,mode=0755"
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "kassa-test", path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a disk of its own (tmpfs) can be mounted only by root, and not in every container")
    try:
        yield SmallDisk(path)
    finally:
        # Lazily: a killed server's last session may still be there for a moment.
        subprocess.run(["umount", "--lazy", path], check=True)


_REFUSING = """
CREATE TABLE test_refusal (tables name[], state text);
INSERT INTO test_refusal VALUES ('{}', '53100');
CREATE FUNCTION test_refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE wanted test_refusal;
BEGIN
  SELECT * INTO wanted FROM test_refusal;
  IF TG_ARGV[0] = ANY (wanted.tables) THEN
    RAISE 'could not extend file "base/1/2": No space left on device' USING ERRCODE = wanted.state;
  END IF;
  RETURN NEW;
END $$;
DO $$
DECLARE one name;
BEGIN
  FOR one IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    AND NOT relispartition AND relname NOT IN ('test_refusal', 'alembic_version')
  LOOP
    EXECUTE format('CREATE TRIGGER test_refuse BEFORE INSERT OR UPDATE ON %I FOR EACH ROW '
      'EXECUTE FUNCTION test_refuse(%L)', one, one);
  END LOOP;
END $$
"""
_ALL = """
SELECT array_agg(tgrelid::regclass::text) FROM pg_trigger
WHERE tgname = 'test_refuse' AND tgparentid = 0
"""


class RefusingTables:
    """Tables of a database that refuse new row versions with an error that the server itself raises, as PostgreSQL does
    when a table's file cannot grow: ERROR, the transaction is over, the connection lives."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def refuse(self, *tables: str, state: str = "53100") -> None:
        """These tables, all without a name; what was committed before is there."""
        named = list(tables) or await self._connection.fetchval(_ALL)
        await self._connection.execute("UPDATE test_refusal SET tables = $1, state = $2", named, state)

    async def take(self) -> None:
        """Everything is stored again."""
        await self._connection.execute("UPDATE test_refusal SET tables = '{}'")


@contextlib.asynccontextmanager
async def refusing_tables(url: str) -> AsyncIterator[RefusingTables]:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_REFUSING)
        yield RefusingTables(connection)
    finally:
        await connection.close()
