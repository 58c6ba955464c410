"""Progress of whatever takes longer than two seconds: a live line on a terminal, plain lines everywhere else."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

QUIET_SECONDS = 2
"""A step that is over sooner is not worth a line in a log."""
REPEAT_SECONDS = 15
"""How often a log hears that a long step is still running."""


_open_steps: list["Step"] = []
"""Steps that run now, outermost first: on a terminal only the innermost is shown."""


class Step:
    """One running step: its title, the seconds since it began, and a detail that may change."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._began = time.monotonic()
        self._detail = ""
        self._ended = threading.Event()
        self.was_shown = False

    def detail(self, text: str) -> None:
        """Replaces the detail behind the title, for example "812 of 1500 packages"."""
        self._detail = text

    @property
    def line(self) -> str:
        """The step as one line of text."""
        detail = f": {self._detail}" if self._detail else ""
        return f"{self._title}{detail} ({self.seconds} s)"

    @property
    def seconds(self) -> int:
        """Whole seconds since the step began."""
        return int(time.monotonic() - self._began)

    def end(self) -> None:
        """Stops the thread that shows the step."""
        self._ended.set()

    def show_in_log(self) -> None:
        """Prints the step after two seconds and then from time to time; runs in a thread until `end`."""
        if self._ended.wait(QUIET_SECONDS):
            return
        self.was_shown = True
        self._console.print(f"{self._title} ...", highlight=False, markup=False)
        while not self._ended.wait(REPEAT_SECONDS):
            self._console.print(f"  {self.line}", highlight=False, markup=False)

    def show_on_terminal(self) -> None:
        """Keeps one live line up to date; runs in a thread until `end`."""
        if self._ended.wait(QUIET_SECONDS):
            return
        self.was_shown = True
        status = self._console.status(self._title)
        try:
            while not self._ended.wait(0.25):
                if _open_steps[-1:] == [self]:
                    status.update(self.line)
                    status.start()
                else:
                    status.stop()
        finally:
            status.stop()


@contextmanager
def step(title: str, console: Console | None = None) -> Iterator[Step]:
    """Shows `title` while the block runs, on standard error; a block that is over within two seconds shows nothing."""
    target = console or Console(stderr=True)
    running = Step(target, title)
    show = running.show_on_terminal if target.is_terminal else running.show_in_log
    thread = threading.Thread(target=show, name="progress", daemon=True)
    _open_steps.append(running)
    thread.start()
    try:
        yield running
    finally:
        _open_steps.remove(running)
        running.end()
        thread.join()
    if running.was_shown:
        target.print(f"{title}: done in {running.seconds} s", highlight=False, markup=False)
