"""The tree of commands."""

from typing import Annotated

import typer

from starter.cli import (
    billing,
    clock,
    configuration,
    credit_notes,
    customers,
    deployment,
    events,
    findings,
    invoices,
    keys,
    processes,
    schedules,
    simulate,
    stack,
    subscriptions,
    usage,
    views,
    webhooks,
)
from starter.cli.shared import examples

app = typer.Typer(
    name="durabill",
    help="A usage-based billing engine whose processes live in Temporal.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "durabill demo  (twelve months of billing, played on this machine)",
        "durabill dev  (everything, embedded, until Ctrl-C)",
        "durabill keys create --tenant Acme",
        "durabill invoices explain INV-202502-00001",
    ),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"durabill {version('durabill')}")
        raise typer.Exit


@app.callback()
def durabill(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """A usage-based billing engine whose processes live in Temporal."""


stack.register(app)
processes.register(app)
simulate.register(app)
findings.register(app)
views.register(app)
_GROUPS = (
    configuration, keys, customers, subscriptions, invoices, credit_notes, events, usage, clock, billing, webhooks,
    schedules, deployment,
)  # fmt: skip
for _group in _GROUPS:
    app.add_typer(_group.commands)
