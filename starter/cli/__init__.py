"""The command line, `durabill`: one file a group of commands; this one puts them together.

Every command imports what it needs inside, so that `--help` is quick. Exit codes: 0 done, 1 refused or failed with one
clear sentence, 2 wrong usage, 130 interrupted.
"""

import logging
import os
import sys

from starter.cli.app import app
from starter.cli.shared import CliError, print_error


def main() -> None:
    """The console script."""
    leave(run())


def run() -> int:
    """Runs the command of `sys.argv` and returns its exit code; every expected error is one sentence on stderr."""
    try:
        app()
    except CliError as problem:
        print_error(str(problem))
        return problem.exit_code
    except KeyboardInterrupt:
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as problem:
        if not _is_explained(problem):
            raise
        print_error(str(problem))
        return 1
    return 0


def _is_explained(problem: Exception) -> bool:
    """Whether the message is meant for the person at the terminal; imported late, for the sake of `--help`."""
    from deploy.embedded.errors import EmbeddedError
    from starter.settings import SettingsError

    return isinstance(problem, SettingsError | EmbeddedError)


def leave(code: int) -> None:
    """Ends the process. Once the Temporal SDK is loaded its threads can abort an interpreter that shuts down by itself
    (SIGABRT after all work is done, sdk-python issue 300), so then everything is flushed and the rest is skipped."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            code = code or 1
    if "temporalio.bridge.temporal_sdk_bridge" in sys.modules:
        os._exit(code)
    sys.exit(code)
