"""`durabill config`: what is in force, and the table of all settings."""

import typer

from starter.cli.shared import CliError, JsonFlag, examples, group, read_settings

commands = group("config", "What is configured.")


@commands.command(epilog=examples("durabill config check", "DURABILL_CONFIG=prod.yaml durabill config check --json"))
def check(json_output: JsonFlag = False) -> None:
    """Check file and environment and print what is in force, secrets hidden. Exit 1 when something is wrong."""
    from starter.cli.output import print_facts, print_json
    from starter.settings import SettingsError, config_file, shown, temporal_connection

    settings = read_settings()
    try:
        temporal = temporal_connection()
    except SettingsError as problem:
        raise CliError(str(problem)) from None
    lines = shown(settings) | {
        "TEMPORAL_ADDRESS": temporal.get("target_host", ""),
        "TEMPORAL_NAMESPACE": temporal.get("namespace", ""),
        "TEMPORAL_API_KEY": "********" if temporal.get("api_key") else "",
        "TEMPORAL_TLS": "on" if temporal.get("tls") else "off",
    }
    if json_output:
        print_json(lines)
        return
    path = config_file()
    print_facts(
        f"In force (file: {path or 'none'}; variables win)", [(name, text or "-") for name, text in lines.items()]
    )


@commands.command(epilog=examples("durabill config table > docs/configuration.md"))
def table() -> None:
    """Print the page docs/configuration.md: every setting, its default and its meaning."""
    from starter.cli.configuration_page import page

    typer.echo(page(), nl=False)
