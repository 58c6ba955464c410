"""`durabill events`: send usage events from a file, watch them arrive, complete what a crash left.

Every event keeps the digits it has in the file, and one without an id gets one before it is sent, so that whatever is
sent twice counts once.
"""

import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.cli.shared import CliError, JsonFlag, examples, group

if TYPE_CHECKING:
    from starter.cli.api_client import Api, ApiError
    from starter.settings import Settings

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


@commands.command(
    epilog=examples(
        "durabill events tail",
        "durabill events tail --customer acme --json | jq .properties",
        "durabill events tail --once --minutes 60",
    )
)
def tail(
    customer: Annotated[str | None, typer.Option(help="Only of this customer (your id).")] = None,
    name: Annotated[str | None, typer.Option(help="Only events of this name.")] = None,
    minutes: Annotated[int, typer.Option(help="Begin with the events of the last so many minutes.", min=0)] = 5,
    once: Annotated[bool, typer.Option("--once", help="Show what there is and end.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Show events as they are stored, oldest first, until Ctrl-C. Their own timestamps decide which are shown."""
    from starter.cli.api_client import connect
    from starter.cli.event_tail import follow

    shown = 0
    with connect() as api:
        if not once and sys.stderr.isatty():
            typer.echo("Waiting for events; Ctrl-C ends.", err=True)
        for event in follow(api, customer, name, minutes, once):
            typer.echo(_as_json(event) if json_output else _as_line(event))
            shown += 1
    if not shown:
        typer.echo(f"No events in the last {minutes} minutes.", err=True)


def _as_json(event: Any) -> str:
    return json.dumps(event, ensure_ascii=False)


def _as_line(event: Any) -> str:
    properties = json.dumps(event.get("properties") or {}, ensure_ascii=False)
    shown = event["timestamp"].replace("T", " "), event["external_customer_id"], event["event_name"], properties
    return "  ".join(shown)


@commands.command(
    epilog=examples(
        "durabill events replay --dead-letters",
        "durabill events replay --since 2025-02-01T00:00:00Z  (with every `durabill consume` stopped)",
    )
)
def replay(
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="What could not be read before, and can be by now.")
    ] = False,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z"], help="Everything accepted at or after this instant, as Kafka still has it."
        ),
    ] = None,
) -> None:
    """Send events through Kafka's consumers once more; what is stored already counts once.

    Talks to Kafka by DURABILL_KAFKA_BROKERS.
    """
    if dead_letters == (since is not None):
        raise CliError("say either --dead-letters or --since INSTANT", exit_code=2)
    from activities.adapters.kafka_replay import replay_dead_letters, rewind
    from activities.ingestion.ports import IngestUnavailable
    from starter.cli.shared import read_settings
    from starter.clients import kafka_settings
    from starter.settings import SettingsError

    try:
        kafka = kafka_settings(read_settings())
        if since is not None:
            typer.echo(f"{rewind(kafka, since)} records will be read again.")
            return
        done = replay_dead_letters(kafka)
    except (IngestUnavailable, SettingsError) as problem:
        raise CliError(str(problem)) from None
    typer.echo(f"{done.events} events replayed; {done.unreadable} dead letters are still no events.")


@commands.command(epilog=examples("durabill events repair"))
def repair() -> None:
    """Complete the stored identities after a loss of them: each event then counts once however often it is sent again.

    Reads ClickHouse by DURABILL_CLICKHOUSE_DSN. Restart consumers and the API afterwards: they remember what is known.
    """
    import asyncio

    from starter.cli.shared import read_settings

    added = asyncio.run(_repaired(read_settings()))
    typer.echo(f"{added} identities were missing and are known again.")


async def _repaired(settings: "Settings") -> int:
    from activities.adapters.clickhouse import connect_clickhouse
    from activities.ingestion.sink import Sink

    clickhouse = await connect_clickhouse(settings.require("clickhouse_dsn"))
    try:
        return await Sink(clickhouse).repair_everything()
    finally:
        await clickhouse.close()


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
