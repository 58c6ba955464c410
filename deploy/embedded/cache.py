"""The user's cache of executables: each is made once a machine, by one process at a time, and is there whole or not."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.progress import Step, step

MEGABYTE = 1_000_000


def folder() -> Path:
    """`$XDG_CACHE_HOME/durabill`, else `~/.cache/durabill`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "durabill"


def key(*files: Path) -> str:
    """A short hash of the files that pin what is built; another pin gives another place in the cache."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def made_once(name: str, title: str, needs_bytes: int, make: Callable[[Path, Step], None]) -> Path:
    """The cached folder `name`; when missing, `make` fills a scratch folder that then gets the name in one move.

    Other processes that want the same folder wait meanwhile. `needs_bytes`: free disk space without which there is
    no point in starting. Raises EmbeddedError when the disk is full or `make` fails; nothing half made stays.
    """
    target = folder() / name
    if target.is_dir():
        return target
    with step(title) as running, _one_at_a_time(name):
        if not target.is_dir():
            _make(target, needs_bytes, make, running)
    return target


def _make(target: Path, needs_bytes: int, make: Callable[[Path, Step], None], running: Step) -> None:
    require_space(target.parent, needs_bytes)
    scratch = target.with_name(f"{target.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        make(scratch, running)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    try:
        folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError(
            f"cannot write {folder()} ({error.strerror}): set XDG_CACHE_HOME to a folder of yours"
        ) from error
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def require_space(place: Path, needs_bytes: int) -> None:
    """Raises EmbeddedError when the disk of `place` has fewer free bytes than needed."""
    free = shutil.disk_usage(place).free
    if free < needs_bytes:
        raise EmbeddedError(
            f"{place} has {free // MEGABYTE} MB free and {needs_bytes // MEGABYTE} MB are needed: free some disk space"
        )


def run_with_progress(argv: list[str], cwd: Path, running: Step, detail: Callable[[str], str]) -> None:
    """Runs a build tool, showing `detail(line)` of each line it prints. Raises EmbeddedError with its last lines."""
    last: deque[str] = deque(maxlen=8)
    with subprocess.Popen(
        argv,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        try:
            for line in child.stdout or ():
                last.append(line.rstrip())
                running.detail(detail(line.rstrip()))
        except BaseException:
            # Its compilers are processes too: none may go on writing where nobody waits for it.
            with contextlib.suppress(psutil.NoSuchProcess):
                for compiler in psutil.Process(child.pid).children(recursive=True):
                    compiler.kill()
            child.kill()
            raise
    if child.returncode:
        raise EmbeddedError(
            f"`{' '.join(argv[:3])}` failed with exit code {child.returncode}; it said: " + " | ".join(last)
        )
