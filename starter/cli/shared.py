"""What the commands share: errors, options, examples, settings."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from starter.settings import Settings

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
LimitOption = Annotated[int, typer.Option(help="At most so many.", min=1)]

CREDENTIALS = Path(".durabill") / "credentials.json"
"""Address and key of the stack that `durabill demo` made, so that commands beside it need no settings."""


class CliError(Exception):
    """The command cannot do what was asked; the message is one clear sentence, and what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def print_error(message: str) -> None:
    """Errors go to stderr, so that stdout stays what a script asked for."""
    typer.secho("Error: ", fg=typer.colors.RED, bold=True, err=True, nl=False)
    typer.echo(message, err=True)


def examples(*lines: str) -> str:
    """Examples at the end of a command's help, one a line."""
    return "Examples:\n\n" + "\n\n".join(f"  {line}" for line in lines)


def group(name: str, help: str) -> typer.Typer:
    """A group of commands that shows its help when it is called alone."""
    return typer.Typer(name=name, help=help, no_args_is_help=True, add_completion=False)


def read_settings() -> "Settings":
    """The settings in force; raises CliError that names every wrong one."""
    from starter.settings import SettingsError, load_settings

    try:
        return load_settings()
    except SettingsError as problem:
        raise CliError(str(problem)) from None


def is_watched() -> bool:
    """Whether a person looks at stdout."""
    return sys.stdout.isatty()
