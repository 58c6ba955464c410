"""Endpoints that get their events in order: which delivery is next. Sending it is `activities.webhooks`'s."""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from models.database import Database
from models.queries.webhook_endpoints import find_next_delivery, is_preceded
from models.scope import Scope

LOOK_AGAIN = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class NextDelivery:
    """Asks what is next for an endpoint."""

    scope: Scope
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be sent next; without an id, nothing is."""

    delivery_id: str | None = None
    event_type: str = ""


class WebhookQueueActivities:
    """One look an execution."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="webhooks.next")
    async def next(self, command: NextDelivery) -> Due:
        """The oldest event that has not arrived. Waits for older ones that the relay has not carried on yet."""
        async with self._database.transaction(command.scope) as session:
            found = await find_next_delivery(session, command.endpoint_id)
            if found is None:
                return Due()
            delivery, event = found
            if await is_preceded(session, event):
                raise ApplicationError(
                    f"an event before {event.id} is still to be carried on by the outbox relay",
                    type="relay_behind",
                    next_retry_delay=LOOK_AGAIN,
                )
            return Due(delivery.id, delivery.event_type)
