"""How far the sink has come when there is no Kafka: the API answers only once ClickHouse has the events."""

from datetime import datetime


class StoredBeforeAnswered:
    """A `UsageProgress` for the direct path: whatever has been accepted has been stored."""

    async def settled(self, cutoff: datetime) -> bool:
        """True: an accepted event is a stored one."""
        return True
