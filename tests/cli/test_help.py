"""Help: there for every command, with examples, and quick."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

from starter.cli.app import app
from starter.cli.configuration_page import page
from tests.cli.conftest import Run

SLOW = ("pydantic", "temporalio", "sqlalchemy", "httpx", "fastapi", "structlog", "billing", "models", "activities")


def every_command(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from every_command(child, (*path, name))
    else:
        assert isinstance(command, TyperCommand)
        yield path, command


COMMANDS = dict(every_command(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_explains_and_gives_examples(path: tuple[str, ...], run: Run) -> None:
    ended = run(*path, "--help")
    assert ended.code == 0
    assert f"durabill {' '.join(path)}" in ended.out.partition("Examples:")[2]
    command = COMMANDS[path]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{parameter.name} has no help"


def test_a_command_alone_shows_its_help(run: Run) -> None:
    assert "invoices" in run().out
    assert "list" in run("invoices").out


def test_help_imports_nothing_slow() -> None:
    """What keeps `durabill --help` under 0.4 seconds."""
    code = (
        "import sys; sys.argv = ['durabill', '--help']\n"
        "from starter import cli; cli.run()\n"
        f"print('loaded:', *sorted(set({SLOW!r}) & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "loaded:"


def test_the_page_of_settings_says_what_the_code_says() -> None:
    written = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == page(), "run: durabill config table > docs/configuration.md"
