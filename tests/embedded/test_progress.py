"""What takes long is shown; what is quick stays quiet."""

import io
import threading

import pytest
from rich.console import Console

from deploy.embedded import progress
from deploy.embedded.progress import step


@pytest.fixture
def log() -> Console:
    return Console(file=io.StringIO(), width=200)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_quick_step_prints_nothing(log: Console) -> None:
    with step("Building", log):
        pass
    assert text(log) == ""


def test_a_long_step_tells_that_it_runs_how_far_it_is_and_that_it_is_done(
    log: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.01)
    monkeypatch.setattr(progress, "REPEAT_SECONDS", 0.01)
    seen = threading.Event()
    plain = log.print

    def printing(*args: object, **options: object) -> None:
        plain(*args, **options)  # type: ignore[arg-type]
        if "812" in str(args):
            seen.set()

    monkeypatch.setattr(log, "print", printing)
    with step("Building", log) as running:
        running.detail("812 of 1500 packages")
        assert seen.wait(30)
    lines = text(log).splitlines()
    assert lines[0] == "Building ..."
    assert "  Building: 812 of 1500 packages (0 s)" in lines
    assert lines[-1] == "Building: done in 0 s"
