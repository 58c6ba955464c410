"""Child processes of the embedded stack: started in a group of their own, watched until ready, stopped by pid."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.embedded.errors import EmbeddedError

PROBE_SECONDS = 0.05
"""Pause between two looks at a part that is not ready yet."""


_CHILDREN: dict[int, psutil.Popen] = {}
"""Processes that this one started and did not stop: held, so that their exit codes are taken and no zombie stays."""


@dataclass(frozen=True)
class Running:
    """A part that answers: where to reach it, and which process it is.

    `started` is the process's start time as the operating system tells it (seconds since 1970): together with `pid` it
    names one process for ever, whereas a pid alone may come to mean another.
    """

    name: str
    pid: int
    started: float
    port: int
    url: str
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """How to start a process: its command, its log file (appended to), and what differs from our own surroundings.

    env: variables to set, or to take away where the value is None.
    """

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str | None] = field(default_factory=dict)
    cwd: Path | None = None
    user: int | None = None
    group: int | None = None


def spawn(spec: Spec) -> psutil.Popen:
    """Starts the process as the leader of a new group, with both outputs in its log."""
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    with spec.log.open("ab") as log:
        try:
            child = psutil.Popen(
                list(spec.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=spec.cwd,
                env=surroundings(spec.env),
                user=spec.user,
                group=spec.group,
                extra_groups=None if spec.user is None else [],
                start_new_session=True,
            )
        except OSError as error:
            raise EmbeddedError(f"{spec.name} cannot be started: {error}") from error
    _CHILDREN[child.pid] = child
    return child


def surroundings(changes: Mapping[str, str | None]) -> dict[str, str]:
    """Our own environment variables with some set and some (None) taken away."""
    merged = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def launch(spec: Spec, is_ready: Callable[[], bool], seconds: int = 60) -> psutil.Popen:
    """Starts the process and returns it once `is_ready` says so.

    Raises EmbeddedError with the end of its log when it dies or is not ready in time; then nothing of it is left.
    """
    process = spawn(spec)
    try:
        wait_until_ready(spec, process, is_ready, seconds)
    except BaseException:
        stop(process.pid, process.create_time() if process.is_running() else 0, signal.SIGKILL)
        raise
    return process


def wait_until_ready(spec: Spec, process: psutil.Popen, is_ready: Callable[[], bool], seconds: int) -> None:
    """Waits until `is_ready` says so. Raises EmbeddedError when the process dies before or the seconds are over."""
    until = time.monotonic() + seconds
    while not is_ready():
        if process.poll() is not None:
            raise EmbeddedError(f"{spec.name} stopped at once with code {process.returncode}; {tail(spec.log)}")
        if time.monotonic() > until:
            raise EmbeddedError(f"{spec.name} did not answer within {seconds} s; {tail(spec.log)}")
        time.sleep(PROBE_SECONDS)


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log and where the rest is, for an error message."""
    try:
        text = log.read_bytes()[-4000:].decode(errors="replace")
    except OSError:
        return f"its log {log} cannot be read"
    last = [line.strip() for line in text.splitlines() if line.strip()][-lines:]
    return f"its log {log} ends with: " + (" | ".join(last) or "(nothing)")


def is_alive(pid: int, started: float) -> bool:
    """Whether this very process runs: the pid exists, is no zombie, and began when we noted."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(pid: int, started: float, how: signal.Signals = signal.SIGTERM, seconds: int = 20) -> None:
    """Ends a process and its children, by SIGKILL what is left after `seconds`. One that is gone already is fine."""
    if is_alive(pid, started):
        with contextlib.suppress(psutil.NoSuchProcess):  # somebody else may end it at the same time
            _end(psutil.Process(pid), how, seconds)
    child = _CHILDREN.pop(pid, None)
    if child is not None:
        child.poll()


def _end(process: psutil.Process, how: signal.Signals, seconds: int) -> None:
    group = [process, *process.children(recursive=True)]
    if how != signal.SIGKILL:
        process.send_signal(how)
        _wait_until_gone([process], seconds)
    for member in group:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    _wait_until_gone(group, 10)


def _wait_until_gone(processes: Sequence[psutil.Process], seconds: int) -> None:
    until = time.monotonic() + seconds
    while not all(_is_gone(process) for process in processes) and time.monotonic() < until:
        time.sleep(PROBE_SECONDS / 2)


def _is_gone(process: psutil.Process) -> bool:
    """Gone, or a zombie that only waits for a parent (in containers often nobody) to take its exit code.

    A zombie that still has threads is not done: its other threads hold files and ports a moment longer.
    """
    try:
        return not process.is_running() or (process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)
    except psutil.NoSuchProcess:
        return True


class Part:
    """One part over its data folder and port, for tests that kill it and start it again in the same place."""

    def __init__(self, start: Callable[[], Running], gently: signal.Signals = signal.SIGTERM) -> None:
        self._start = start
        self._gently = gently
        self.running = start()

    def stop(self) -> None:
        """Ends it in its own gentle way and waits until it is gone."""
        stop(self.running.pid, self.running.started, self._gently)

    def kill(self) -> None:
        """kill -9 of the whole process group."""
        stop(self.running.pid, self.running.started, signal.SIGKILL)

    def restart(self) -> Running:
        """Starts it again over the same data and port (after `stop` or `kill`, or ends it gently first)."""
        self.stop()
        self.running = self._start()
        return self.running

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
