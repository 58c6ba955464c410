"""`durabill simulate`: a customer's whole story, computed on this machine without any server; or on a stack as well.

Owns reading the documents and showing the results. The story itself is billing.simulation's, playing it on a running
stack is starter.simulate's.
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
ExplainFlag = Annotated[
    bool, typer.Option("--explain", help="Say why each line of each invoice is what it is, part by part.")
]
OnOption = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="URL",
        help="Play the same story on this stack, too, by a test clock, and tell every difference."
        " Its environment (DURABILL_API_KEY) has the story's billing settings meanwhile: use one for tests.",
    ),
]
StrictFlag = Annotated[bool, typer.Option("--strict", help="With --on: what cannot be played there fails as well.")]


def register(app: typer.Typer) -> None:
    """Adds the command to the tree."""
    app.command(
        "simulate",
        epilog=examples(
            "durabill simulate story.json",
            "durabill simulate story.json --explain",
            "durabill simulate story.json --json > result.json",
            "durabill simulate --jsonl - < customers.jsonl > results.jsonl",
            "durabill simulate tests/scenarios/yen-have-no-decimals.json --on http://localhost:8080",
        ),
    )(simulate)


def simulate(
    files: Files = None,
    json_output: JsonFlag = False,
    json_lines: JsonLinesFlag = False,
    explain: ExplainFlag = False,
    on: OnOption = None,
    strict: StrictFlag = False,
) -> None:
    """Tell what a customer's story comes to: every invoice, line, payment, and what was refused.

    Nothing is stored and no server is asked, unless --on names one. Exit code 1: a document makes no sense, or the
    stack differs.
    """
    names = files or [STDIN]
    if not files and sys.stdin.isatty():
        raise CliError("name a scenario document, or - for standard input")
    if on is not None:
        if json_lines or explain:
            other = "--jsonl" if json_lines else "--explain"
            raise CliError(f"{other} and --on do not go together: name one document a file", exit_code=2)
        failed = _compare(names, on, json_output, strict)
    else:
        failed = _simulate_lines(names, explain) if json_lines else _simulate_documents(names, json_output, explain)
    if failed:
        raise typer.Exit(1)


def _compare(names: Sequence[str], url: str, json_output: bool, strict: bool) -> bool:
    """Every document here and on the stack at `url`, one after the other."""
    from starter.cli import comparison_page
    from starter.cli.api_client import connect
    from starter.cli.output import print_json
    from starter.simulate.on_stack import compare

    texts = [(_shown(name), "".join(_lines(name, keep_blank=True))) for name in names]
    with connect(url) as api:
        compared = [(name, compare(api, text)) for name, text in texts]
    if json_output:
        print_json(comparison_page.as_json(compared))
    else:
        comparison_page.show(compared)
    failures = {"different", "error"} | ({"not_playable"} if strict else set())
    return any(found.outcome in failures for _, found in compared)


def _shown(name: str) -> str:
    return "standard input" if name == STDIN else name


def _simulate_lines(names: Sequence[str], explain: bool) -> bool:
    """Results go out one by one, so that a long run can be read while it goes on."""
    from starter.simulate.outcomes import outcome

    failed = False
    for name in names:
        for line in _lines(name):
            result = outcome(line, explain)
            failed = failed or "error" in result
            print(json.dumps(result, ensure_ascii=False, separators=(",", ":")), flush=True)
    return failed


def _simulate_documents(names: Sequence[str], json_output: bool, explain: bool) -> bool:
    from starter.simulate.outcomes import outcome

    texts = {name: "".join(_lines(name, keep_blank=True)) for name in names}
    results = [(name, outcome(text, explain)) for name, text in texts.items()]
    for name, result in results:
        if "error" in result:
            print_error(f"{_shown(name)}: {result['error']['message']}")
    if json_output:
        shown: Any = [result for _, result in results]
        print(json.dumps(shown[0] if len(shown) == 1 else shown, indent=2, ensure_ascii=False))
    else:
        from starter.cli import explanation_page, simulation_page

        for name, result in results:
            if "error" not in result:
                simulation_page.show(result, json.loads(texts[name]).get("currency", "usd"))
                explanation_page.show_all(result.get("explanations", []))
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
