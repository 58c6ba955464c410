"""Every type of event that the compatible API knows is emitted, or named with the reason why not."""

import re
from pathlib import Path

import pytest

from activities.event_types import EMITTED, NEVER_EMITTED, check_event_types
from billing.errors import Invalid

ROOT = Path(__file__).resolve().parents[1]
EMITTING = re.compile(rf'"((?:{"|".join({name.partition(".")[0] for name in EMITTED})})(?:\.[a-z_]+)+)"')
BY_STATE = {"dispute.won", "dispute.lost", "wallet.ongoing_balance.dropped", "wallet.ongoing_balance.recovered"}
"""Put together from the state by `activities.disputes`, or named by a rule, `billing.balance_alerts`."""

COMPATIBLE = """
subscription: created draft.created activated updated paused cancelled resumed plan_changed phase.created phase.updated
subscription: phase.deleted renewal.due spend.threshold_reached spend.threshold_recovered
subscription: line_item_spend.threshold_reached line_item_spend.threshold_recovered
subscription: group_spend.threshold_reached group_spend.threshold_recovered
invoice: update update.finalized update.payment update.voided payment.overdue communication.triggered create.drafted
invoice: sync.success sync.failed
payment: created updated failed success pending
refund: created succeeded failed
wallet: created updated terminated transaction.created transaction.updated credit_balance.dropped
wallet: credit_balance.recovered ongoing_balance.dropped ongoing_balance.recovered ongoing_balance.updated
customer: created updated deleted
feature: created updated deleted wallet_balance.alert
entitlement: created updated deleted grant.exhausted
credit_note: created updated
checkout.session: initiated completed failed expired
event: rejected
"""
OURS = {"dispute.created", "dispute.updated", "dispute.won", "dispute.lost"}


def compatible() -> set[str]:
    lines = (line.partition(": ") for line in COMPATIBLE.strip().splitlines())
    return {f"{noun}.{what}" for noun, _, rest in lines for what in rest.split()}


def test_what_the_compatible_api_knows_is_emitted_or_has_a_reason() -> None:
    assert EMITTED | NEVER_EMITTED.keys() == compatible() | OURS
    assert not EMITTED & NEVER_EMITTED.keys()
    assert all(NEVER_EMITTED.values())


def test_what_is_named_is_emitted() -> None:
    files = [file for file in (ROOT / "activities").glob("*.py") if file.name != "event_types.py"]
    found = {name for file in files for name in EMITTING.findall(file.read_text())}
    assert found | BY_STATE == EMITTED


def test_the_page_for_operators_names_what_is_emitted() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    listed = page.partition("The types: ")[2].partition("An endpoint without")[0]
    named, noun = set(), ""
    for name in re.findall(r"`([a-z_.]+)`", listed):
        noun = name.partition(".")[0] or noun
        named.add(name if name.partition(".")[0] else f"{noun}{name}")
    assert named == EMITTED


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "invoice.finalised",
            "invoice.finalised is never sent: it is none of credit_note.created, credit_note.updated,",
        ),
        (
            "wallet.transaction.updated",
            "wallet.transaction.updated is never sent: a wallet's transactions never change",
        ),
    ],
)
def test_a_type_that_is_never_sent_is_refused(name: str, why: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_event_types(["payment.success", name])
    assert str(refused.value).startswith(why)
    assert refused.value.field == "enabled_events[1]"
