"""Stand-ins for what the ingest routes ask of others: an acceptor, a caller, a clock."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from activities.ingestion.events import Event
from activities.ingestion.ports import IngestUnavailable
from models.scope import Scope
from starter.ingest.ports import Refusal

NOW = datetime(2025, 12, 2, 10, 0, 0, 123456, UTC)


class Acceptor:
    """Remembers what it was given, or refuses."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.down = False

    async def accept(self, events: Sequence[Event]) -> None:
        if self.down:
            raise IngestUnavailable("the store does not answer", 7)
        self.events.extend(events)


async def authenticate(headers: Mapping[str, str]) -> Scope | Refusal:
    """One key that is known."""
    if headers.get("x-api-key") == "sk_known":
        return Scope("tenant_1", "env_1")
    return Refusal(401, "permission_denied", "Invalid API key")


async def clocks_of(
    tenant_id: str, environment_id: str, external_customer_ids: Collection[str]
) -> Mapping[str, datetime]:
    """Customers named `past...` live on a test clock in 2020."""
    past = datetime(2020, 5, 1, tzinfo=UTC)
    return {name: past if name.startswith("past") else NOW for name in external_customer_ids}
