"""What the commands `durabill dev`, `dev stop` and `dev status` do and print."""

import json
import shlex
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.progress import step
from deploy.embedded.stack import DATA
from starter.dev.supervisor import Dev, Supervisor


def run_dev(kafka: bool = False, s3: bool = False, detach: bool = False, data: Path = DATA) -> int:
    """Brings everything up and shows where it is; then watches until Ctrl-C, or returns at once when detached.

    The exit code: 0, or 1 after one sentence on standard error that says what failed and what to do.
    """
    supervisor = Supervisor(data, kafka, s3)
    try:
        # `durabill dev stop` in another terminal ends this one as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        dev = supervisor.up(attached=not detach)
        if detach:
            show(dev, detach)
            return 0
        return _watch(supervisor, dev)
    except EmbeddedError as error:
        return _failed(error)
    except KeyboardInterrupt:
        print("Interrupted: what was being started has been stopped", file=sys.stderr)
        return 130


def _watch(supervisor: Supervisor, dev: Dev) -> int:
    code = 0
    try:
        show(dev, detached=False)  # in here: whoever interrupts the reading ends what is shown
        supervisor.watch(dev)
    except KeyboardInterrupt:
        print(file=sys.stderr)
    except EmbeddedError as error:
        code = _failed(error)
    # A second Ctrl-C must not leave half of it running.
    for how in (signal.SIGINT, signal.SIGTERM):
        signal.signal(how, signal.SIG_IGN)
    with step("Stopping"):
        supervisor.down()
    return code


def stop_dev(data: Path = DATA) -> int:
    """Stops whatever runs over the data folder, whoever started it; the data stays. The exit code."""
    supervisor = Supervisor(data)
    try:
        with step("Stopping"):
            stopped = supervisor.end_supervisor() + supervisor.down()
    except EmbeddedError as error:
        return _failed(error)
    print(f"Stopped: {', '.join(stopped)}" if stopped else "Nothing runs any more")
    return 0


def dev_env(data: Path = DATA) -> int:
    """Prints `export NAME=value` for every setting of what runs over the data folder. The exit code: 0, or 3."""
    try:
        dev = Supervisor(data).running()
    except EmbeddedError as error:
        return _failed(error)
    if dev is None:
        print("error: nothing runs here: start it with `durabill dev --detach`", file=sys.stderr)
        return 3
    for name, value in sorted(dev.settings.items()):
        print(f"export {name}={shlex.quote(value)}")
    return 0


def dev_status(data: Path = DATA, json_output: bool = False) -> int:
    """Shows what was started over the data folder. The exit code: 0 when all of it runs, 3 when not."""
    try:
        children = Supervisor(data).status()
    except EmbeddedError as error:
        return _failed(error)
    alive = bool(children) and all(child.is_alive() for child in children)
    if json_output:
        print(
            json.dumps([{"name": c.name, "pid": c.pid, "alive": c.is_alive(), "address": c.address} for c in children])
        )
        return 0 if alive else 3
    if not children:
        print("Nothing runs here: start it with `durabill dev`")
        return 3
    table = Table("Part", "State", "Address", "Process", "Log", box=None, pad_edge=False)
    for child in children:
        state = "[green]running[/]" if child.is_alive() else "[red]stopped[/]"
        table.add_row(child.name, state, child.address, str(child.pid), child.log, end_section=False)
    _console().print(table)
    return 0 if alive else 3


def show(dev: Dev, detached: bool) -> None:
    """Prints the addresses that a person opens, and how to stop it all."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("API", dev.api_url)
    table.add_row("Its documentation", f"{dev.api_url}/docs")
    if dev.temporal_ui_url:
        table.add_row("Temporal UI", dev.temporal_ui_url)
    table.add_row("Temporal", dev.settings["TEMPORAL_ADDRESS"])
    table.add_row("Postgres", dev.settings["DURABILL_POSTGRES_DSN"])
    table.add_row("ClickHouse", dev.settings["DURABILL_CLICKHOUSE_DSN"])
    if "DURABILL_KAFKA_BROKERS" in dev.settings:
        table.add_row("Kafka", dev.settings["DURABILL_KAFKA_BROKERS"])
    if "DURABILL_S3_ENDPOINT" in dev.settings:
        table.add_row("S3", f"{dev.settings['DURABILL_S3_ENDPOINT']}, bucket {dev.settings['DURABILL_S3_BUCKET']}")
    table.add_row("Logs", str(Path(dev.children[0].log).parent))
    table.add_row("To stop", "durabill dev stop" if detached else "Ctrl-C, or `durabill dev stop` from elsewhere")
    _console().print(table)


def _console() -> Console:
    # Without a terminal rich would fold everything to 80 columns, which no log needs.
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=200)


def _failed(error: EmbeddedError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1
