"""`durabill events`: send usage events from a file.

Every event keeps the digits it has in the file, and one without an id gets one before it is sent, so that whatever is
sent twice counts once.
"""

import gzip
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.shared import CliError, JsonFlag, examples, group

if TYPE_CHECKING:
    from starter.cli.api_client import Api, ApiError

commands = group("events", "Usage events.")
BATCH = 1000
Line = tuple[int, bytes]
"""Number of the line in the file, and one event as JSON."""


@commands.callback()
def events() -> None:
    """Usage events."""


@commands.command(
    epilog=examples(
        "durabill events send usage.ndjson",
        "durabill events send usage.ndjson.gz --json",
        "my-exporter | durabill events send -",
    )
)
def send(
    file: Annotated[Path, typer.Argument(help="One JSON event a line, gzip allowed; - for stdin.")],
    batch: Annotated[int, typer.Option(help="Events a request.", min=1, max=BATCH)] = BATCH,
    json_output: JsonFlag = False,
) -> None:
    """Send events; stops at the first request that the API refuses and says which lines are wrong."""
    from starter.cli.api_client import connect
    from starter.cli.output import print_json

    with connect() as api, _open(file) as stream:
        sent = _send_all(api, _batches(stream, batch), str(file))
    if json_output:
        print_json({"sent": sent})
    else:
        typer.echo(f"{sent} events sent.")


def _send_all(api: "Api", batches: Iterator[list[Line]], name: str) -> int:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from starter.cli.api_client import ApiError

    sent = 0
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed} events"), TimeElapsedColumn())
    watched = Console(stderr=True)
    with Progress(*columns, console=watched, transient=True, disable=not watched.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        for lines in batches:
            body = b'{"events":[' + b",".join(event for _, event in lines) + b"]}"
            try:
                api.post_bytes("events/bulk", body)
            except ApiError as refusal:
                raise CliError(f"{_explain(refusal, lines)}\n{sent} events were sent before.") from None
            sent += len(lines)
            progress.update(task, completed=sent)
    return sent


def _explain(refusal: "ApiError", lines: list[Line]) -> str:
    """The API names positions in the request; a person wants lines of the file."""
    where = f"lines {lines[0][0]} to {lines[-1][0]}: {refusal}"
    details = refusal.body.get("details") if isinstance(refusal.body, dict) else None
    wrong = details.get("errors") if isinstance(details, dict) else None
    if not isinstance(wrong, list):
        return where
    return "\n".join(f"line {lines[item['index']][0]}: {item['field']}: {item['message']}" for item in wrong)


@contextmanager
def _open(file: Path) -> Iterator[Iterable[bytes]]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = file.open("rb")
    except OSError as problem:
        raise CliError(f"{file} cannot be read: {problem.strerror}") from None
    with stream:
        packed = stream.peek(2)[:2] == b"\x1f\x8b"
        yield gzip.GzipFile(fileobj=stream) if packed else stream


def _batches(stream: Iterable[bytes], size: int) -> Iterator[list[Line]]:
    lines: list[Line] = []
    for number, text in enumerate(stream, start=1):
        if text.strip():
            lines.append((number, with_id(text, number)))
        if len(lines) == size:
            yield lines
            lines = []
    if lines:
        yield lines


def with_id(line: bytes, number: int) -> bytes:
    """The event with an `event_id`; raises CliError for a line that is not a JSON object."""
    import msgspec

    try:
        event = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as problem:
        raise CliError(f"line {number} is not one JSON object: {problem}") from None
    if bytes(event.get("event_id", b'""')) not in (b'""', b"null"):
        return line.strip()
    from ulid import ULID

    event["event_id"] = msgspec.Raw(f'"event_{ULID()}"'.encode())
    return msgspec.json.encode(event)
