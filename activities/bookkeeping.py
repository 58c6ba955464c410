"""The columns that every new row needs, and following along when one changes."""

from datetime import UTC, datetime
from typing import Any

from models.scope import Scope
from models.tables.base import Entity


def new_columns(scope: Scope) -> dict[str, Any]:
    """Scope and real-time stamps of a row that is about to be inserted."""
    now = datetime.now(UTC)
    return {
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "created_at": now,
        "updated_at": now,
    }


def touch(row: Entity) -> None:
    """Marks a row as changed now, in real time."""
    row.updated_at = datetime.now(UTC)


def remember_command(row: Any, command_id: str) -> None:
    """Notes that a command took effect on a subscription or invoice; the latest 64 are kept."""
    row.seen_commands = [*row.seen_commands, command_id][-64:]


def scope_of(row: Any) -> Scope:
    """Whose row it is."""
    return Scope(row.tenant_id, row.environment_id)
