"""Whose rows a piece of work is about. Pure, so that workflow contracts may carry it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """One environment of one tenant."""

    tenant_id: str
    environment_id: str
