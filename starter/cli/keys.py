"""`durabill keys`: the first key of a tenant, made beside the API because nobody has a key yet."""

import asyncio
from typing import Annotated

import typer

from starter.cli.shared import JsonFlag, examples, group, read_settings

commands = group("keys", "API keys.")


@commands.callback()
def keys() -> None:
    """API keys."""


@commands.command(
    epilog=examples(
        "durabill keys create --tenant Acme",
        "durabill keys create --tenant Acme --environment sandbox --name ci --json",
        "export DURABILL_API_KEY=$(durabill keys create --tenant Acme --json | jq -r .api_key)",
    )
)
def create(
    tenant: Annotated[str, typer.Option(help="Name of the tenant; made when there is none.")],
    environment: Annotated[str, typer.Option(help="Name of its environment; made when there is none.")] = "production",
    name: Annotated[str, typer.Option(help="Name of the key.")] = "bootstrap",
    json_output: JsonFlag = False,
) -> None:
    """Make an API key, and the tenant and environment it is for. Needs DURABILL_POSTGRES_DSN.

    The key is shown once: only its hash is stored.
    """
    from starter.cli.bootstrap import create_key
    from starter.cli.output import print_facts, print_json

    made = asyncio.run(create_key(read_settings(), tenant, environment, name))
    if json_output:
        print_json(made)
        return
    print_facts(
        "Shown once, keep it:",
        [
            ("API key", made["api_key"]),
            ("Tenant", f"{tenant} ({made['tenant_id']})"),
            ("Environment", f"{environment} ({made['environment_id']})"),
        ],
    )
