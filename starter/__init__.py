"""Doors into durabill: the API, the CLI and the collector. They parse, check, start or signal, and answer."""
