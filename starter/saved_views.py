"""The questions of a bad day as queries of the workflow list: for the Temporal UI, its CLI, and `durabill views`.

docs/operations.md explains each; the names of the search attributes are `workflows.search_attributes`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

STUCK_AFTER: Final = timedelta(hours=1)
"""Work that is due takes seconds; so late, something holds it up."""


@dataclass(frozen=True, slots=True)
class SavedView:
    """One question. `query` has the places {today} (midnight UTC) and {an_hour_ago}, where it needs them."""

    question: str
    query: str

    def at(self, now: datetime) -> str:
        """The query as it is asked at `now`."""
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return self.query.format(today=_text(today), an_hour_ago=_text(now - STUCK_AFTER))


VIEWS: Final[Mapping[str, SavedView]] = {
    "waits-for-a-person": SavedView(
        "What waits for a person?", 'NeedsAttention = true AND ExecutionStatus = "Running"'
    ),
    "findings-today": SavedView(
        "Which passes of today found what waits for a person?",
        'WorkflowType IN ("ReconciliationWorkflow", "AuditWorkflow") AND NeedsAttention = true'
        ' AND StartTime >= "{today}"',
    ),
    "failed-to-collect-today": SavedView(
        "Which invoices failed to collect today?", 'WorkflowType = "InvoiceWorkflow" AND PastDueSince >= "{today}"'
    ),
    "past-due": SavedView(
        "Which invoices are past due?",
        'WorkflowType = "InvoiceWorkflow" AND InvoiceStatus = "past_due" AND ExecutionStatus = "Running"',
    ),
    "stuck-subscriptions": SavedView(
        "Which subscriptions should have acted an hour ago, and have not?",
        'WorkflowType = "SubscriptionWorkflow" AND NextActionAt < "{an_hour_ago}" AND ExecutionStatus = "Running"',
    ),
    "parked-by-a-defect": SavedView(
        "What has a defect in the code of a workflow parked?",
        "TemporalReportedProblems IN ('category=WorkflowTaskFailed', 'category=WorkflowTaskTimedOut')"
        ' AND ExecutionStatus = "Running"',
    ),
    "ended-by-hand": SavedView(
        "Which subscriptions and invoices were ended by somebody's hand?",
        'WorkflowType IN ("SubscriptionWorkflow", "InvoiceWorkflow") AND ExecutionStatus IN ("Terminated", "Canceled")',
    ),
    "webhooks-not-arriving": SavedView(
        "Which webhooks have been on their way for an hour?",
        'WorkflowType IN ("WebhookDeliveryWorkflow", "WebhookQueueWorkflow") AND StartTime < "{an_hour_ago}"'
        ' AND ExecutionStatus = "Running"',
    ),
    "failed-passes": SavedView(
        "Which passes by the clock have failed today?",
        'TemporalScheduledById IS NOT NULL AND StartTime >= "{today}"'
        ' AND ExecutionStatus IN ("Failed", "TimedOut", "Terminated")',
    ),
}


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
