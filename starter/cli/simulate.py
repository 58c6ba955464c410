"""`durabill simulate`: a customer's whole story, computed on this machine without any server.

Owns reading the documents and showing the results. The story itself is billing.simulation's.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from starter.cli.shared import CliError, JsonFlag, examples, print_error

STDIN = "-"

Files = Annotated[list[str] | None, typer.Argument(metavar="FILE...", help="Scenario documents; - is standard input.")]
JsonLinesFlag = Annotated[
    bool, typer.Option("--jsonl", help="One scenario a line in, one result a line out, in the same order.")
]


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command(
        "simulate",
        epilog=examples(
            "durabill simulate story.json",
            "durabill simulate story.json --json > result.json",
            "durabill simulate --jsonl - < customers.jsonl > results.jsonl",
        ),
    )(simulate)


def simulate(files: Files = None, json_output: JsonFlag = False, json_lines: JsonLinesFlag = False) -> None:
    """Tell what a customer's story comes to: every invoice, line, payment, and what was refused.

    Nothing is stored and no server is asked. Exit code 1: a document makes no sense.
    """
    names = files or [STDIN]
    if not files and sys.stdin.isatty():
        raise CliError("name a scenario document, or - for standard input")
    failed = _simulate_lines(names) if json_lines else _simulate_documents(names, json_output)
    if failed:
        raise typer.Exit(1)


def _simulate_lines(names: Sequence[str]) -> bool:
    """Results go out one by one, so that a long run can be read while it goes on."""
    from starter.simulate.outcomes import outcome

    failed = False
    for name in names:
        for line in _lines(name):
            result = outcome(line)
            failed = failed or "error" in result
            print(json.dumps(result, ensure_ascii=False, separators=(",", ":")), flush=True)
    return failed


def _simulate_documents(names: Sequence[str], json_output: bool) -> bool:
    from starter.simulate.outcomes import outcome

    results = [(name, outcome("".join(_lines(name, keep_blank=True)))) for name in names]
    for name, result in results:
        if "error" in result:
            print_error(f"{'standard input' if name == STDIN else name}: {result['error']['message']}")
    if json_output:
        shown: Any = [result for _, result in results]
        print(json.dumps(shown[0] if len(shown) == 1 else shown, indent=2, ensure_ascii=False))
    else:
        from starter.cli.simulation_page import show

        for _, result in results:
            if "error" not in result:
                show(result)
    return any("error" in result for _, result in results)


def _lines(name: str, keep_blank: bool = False) -> Iterator[str]:
    try:
        if name == STDIN:
            yield from _kept(sys.stdin, keep_blank)
            return
        with Path(name).open(encoding="utf-8") as file:
            yield from _kept(file, keep_blank)
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{name} cannot be read: {error}") from None


def _kept(file: TextIO, keep_blank: bool) -> Iterator[str]:
    return (line for line in file if keep_blank or line.strip())
