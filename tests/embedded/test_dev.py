"""`durabill dev` with its real processes: up, reused, watched, stopped, and one sentence for what fails."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.embedded.errors import EmbeddedError
from starter.dev import Supervisor, commands, dev_status, run_dev, stop_dev, supervisor

ATTACHED = (
    "import sys; from pathlib import Path; from starter.dev import run_dev; sys.exit(run_dev(data=Path(sys.argv[1])))"
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Nobody edits the code while these tests look.
    monkeypatch.setattr(supervisor, "_code_changed_at", lambda: 0)
    yield tmp_path / "data"
    stop_dev(tmp_path / "data")


def test_up_reuse_status_and_stop(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_dev(detach=True, data=data) == 0
    assert "durabill dev stop" in capsys.readouterr().out
    dev = Supervisor(data).up()
    assert [child.name for child in dev.children] == ["sandbox-provider", "api", "worker"]
    assert httpx.get(f"{dev.api_url}/readyz").status_code == 200
    assert run_dev(detach=True, data=data) == 0
    assert Supervisor(data).up().children == dev.children
    assert dev_status(data) == 0
    everything = Supervisor(data).status()
    for name in ("dev.json", "state.json", "secrets.json", "postgres/password"):
        assert (data / name).stat().st_mode & 0o077 == 0, f"{name} holds secrets"
    capsys.readouterr()
    assert stop_dev(data) == 0
    assert capsys.readouterr().out == "Stopped: sandbox-provider, api, worker, postgres, clickhouse, temporal\n"
    assert not any(child.is_alive() for child in everything)
    assert dev_status(data) == 3


def test_older_code_is_replaced(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Supervisor(data).up()
    monkeypatch.setattr(supervisor, "_code_changed_at", time.time)
    after = Supervisor(data).up()
    assert {child.pid for child in after.children}.isdisjoint(child.pid for child in before.children)
    assert not any(child.is_alive() for child in before.children)
    assert after.ports == before.ports


def attached(data: Path) -> subprocess.Popen[str]:
    """`durabill dev` in a terminal of its own, once everything is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", ATTACHED, str(data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline().startswith("API")
    return process


def test_a_process_that_dies_is_reported_and_everything_is_brought_down(data: Path) -> None:
    with attached(data) as process:
        everything = Supervisor(data).status()
        with pytest.raises(EmbeddedError, match=f"runs here already, as process {process.pid}"):
            Supervisor(data).up(attached=True)
        worker = next(child for child in everything if child.name == "worker")
        os.kill(worker.pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: worker has stopped; its log" in errors
    assert len(everything) == 6
    assert not any(child.is_alive() for child in everything)


@pytest.mark.parametrize("how", ["Ctrl-C", "stop"])
def test_ctrl_c_and_stop_from_elsewhere_end_it_cleanly(data: Path, how: str) -> None:
    with attached(data) as process:
        everything = Supervisor(data).status()
        if how == "Ctrl-C":
            process.send_signal(signal.SIGINT)
        else:
            assert stop_dev(data) == 0
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not any(child.is_alive() for child in everything)


def test_ctrl_c_while_the_addresses_are_shown_ends_it_too(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything: list[supervisor.Child] = []

    def interrupted(dev: supervisor.Dev, detached: bool) -> None:
        everything.extend(Supervisor(data).status())
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "show", interrupted)
    handlers = {how: signal.getsignal(how) for how in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert run_dev(data=data) == 0
    finally:
        for how, handler in handlers.items():
            signal.signal(how, handler)
    assert len(everything) == 6
    assert not any(child.is_alive() for child in everything)


def test_a_supervisor_that_was_killed_leaves_nothing_that_stop_does_not_find(data: Path) -> None:
    with attached(data) as process:
        everything = Supervisor(data).status()
        process.kill()
    assert all(child.is_alive() for child in everything)
    assert stop_dev(data) == 0
    assert not any(child.is_alive() for child in everything)


def test_a_database_of_ones_own_that_does_not_answer(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DURABILL_POSTGRES_DSN", "postgresql://someone@127.0.0.1:1/db")
    assert run_dev(detach=True, data=data) == 1
    errors = capsys.readouterr().err
    assert "error: `durabill migrate` failed with exit code 1; its log" in errors
    assert "DURABILL_POSTGRES_DSN" in errors
    assert Supervisor(data).status() == []
    assert not (data / "postgres").exists()


def test_a_taken_api_port(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("DURABILL_API_PORT", str(port))
        assert run_dev(detach=True, data=data) == 1
    assert f"error: port {port} for the API is taken by another program: stop that program" in capsys.readouterr().err
    assert Supervisor(data).status() == []
