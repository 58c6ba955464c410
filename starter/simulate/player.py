"""Plays a scenario on a running stack: events as they arrive, actions when they come, time by a test clock.

Owns the order of things and which call of the API does which action. What cannot be asked for is in
starter.simulate.gaps; what comes of it is read in starter.simulate.reading.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import msgspec

from billing.event_times import AHEAD
from billing.money import decimal_text
from billing.scenario import document as doc
from billing.scenario.catalog import build_catalog
from billing.simulation.events import LoggedEvent, sent_events
from starter.cli.api_client import Api, ApiError, segment
from starter.simulate.clock import STALLED_SECONDS, StoryClock, pauses
from starter.simulate.setting import GATEWAY, Setting, make_wallet, set_up, subscribe, text
from starter.simulate.tokens import token_of

Json = dict[str, Any]
BATCH: Final = 1000
CHARGED_SECONDS: Final = 30
"""How long charges by a new payment method are waited for; that none came shows in the comparison."""
NOT_THE_STORYS: Final = frozenset({401, 403, 429, 501})
"""Refusals that say something about the caller or the stack: they end the play."""
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Refused:
    """An action that the API refused; `action` is its place in the document."""

    action: int
    code: str
    message: str


@dataclass(slots=True)
class Played:
    """A story that is over: where it was played, and what was refused."""

    setting: Setting
    subscription_id: str = ""
    wallets: dict[str, str] = field(default_factory=dict)
    """The document's key of a wallet by its id."""
    refused: list[Refused] = field(default_factory=list)


def play(api: Api, scenario: doc.Scenario, patience: float = STALLED_SECONDS) -> Played:
    """The whole story. Raises CliError for a stack that does not go on for `patience` seconds."""
    return _Player(api, scenario, patience).play()


class _Player:
    def __init__(self, api: Api, scenario: doc.Scenario, patience: float) -> None:
        self._api, self._scenario, self._patience = api, scenario, patience
        catalog = build_catalog(scenario)
        self._events = deque(sent_events(scenario, catalog.meters))
        actions = [(place, action) for place, action in enumerate(scenario.actions) if action.at <= scenario.until]
        self._actions = sorted(actions, key=lambda pair: pair[1].at)
        self._first = min([scenario.subscription.start_date, *(action.at for _, action in self._actions)])
        arrivals = [each.original.accepted_at for each in self._events]
        setting = set_up(api, scenario, catalog, min([self._first, *arrivals]))
        self._played = Played(setting)
        self._clock = StoryClock(api, setting.clock_id, setting.now, patience)
        self._methods = 0

    def play(self) -> Played:
        """Everything until the story's end."""
        self._advance(self._first)
        self._begin()
        for place, action in self._actions:
            self._advance(action.at)
            try:
                ACTIONS[type(action)](self, action)
            except ApiError as refusal:
                if refusal.status in NOT_THE_STORYS or refusal.status >= 500:
                    raise
                self._refuse(place, refusal)
            self._clock.settle(self._played.setting.customer_id)
        self._advance(self._scenario.until)
        self._clock.settle(self._played.setting.customer_id)
        return self._played

    def _begin(self) -> None:
        """Wallets first: an invoice that the subscription opens with may draw on them."""
        setting = self._played.setting
        for part in self._scenario.wallets:
            self._played.wallets[make_wallet(self._api, self._scenario, part, setting.customer_id)] = part.key
        self._played.subscription_id = subscribe(self._api, self._scenario, setting)
        self._clock.settle(setting.customer_id)

    def cancel(self, action: doc.Cancel) -> None:
        """`final_usage` has the name of the reference here."""
        body = {
            "cancellation_type": action.type,
            "proration_behavior": None if action.proration_behavior is None else action.proration_behavior.value,
            "cancel_immediately_invoice_policy": "skip" if action.final_usage == "skip" else "generate_invoice",
        }
        self._post(f"subscriptions/{self._played.subscription_id}/cancel", body)

    def void_invoice(self, action: doc.VoidInvoice) -> None:
        """By its place in the list."""
        self._post(f"invoices/{self._invoice(action.invoice)}/void", {})

    def pay(self, action: doc.Pay) -> None:
        """Money from elsewhere."""
        body = {"payment_status": "SUCCEEDED", "amount": decimal_text(action.amount)}
        self._api.put(f"invoices/{self._invoice(action.invoice)}/payment", body)

    def credit_note(self, action: doc.CreditNote) -> None:
        """Of the invoice as a whole."""
        body = {
            "invoice_id": self._invoice(action.invoice),
            "reason": "BILLING_ERROR",
            "credit_note_type": action.type,
            "amount": decimal_text(action.amount),
        }
        self._post("creditnotes", body)

    def top_up(self, action: doc.TopUp) -> None:
        """Bought outside, or given; bonus credits come with it."""
        expiry, bonus_expiry = action.expiry_date_utc, action.bonus_credits_expiry_date_utc
        body = {
            "credits_to_add": decimal_text(action.credits),
            "transaction_reason": action.transaction_reason,
            "expiry_date_utc": None if expiry is None else text(expiry),
            "priority": action.priority,
            "bonus_credits_to_add": decimal_text(action.bonus_credits_to_add) if action.bonus_credits_to_add else None,
            "bonus_credits_expiry_date_utc": None if bonus_expiry is None else text(bonus_expiry),
        }
        self._post(f"wallets/{self._wallet(action.wallet)}/top-up", body)

    def debit(self, action: doc.Debit) -> None:
        """By hand."""
        body = {"credits": decimal_text(action.credits), "idempotency_key": str(uuid4())}
        self._post(f"wallets/{self._wallet(action.wallet)}/debit", body)

    def terminate_wallet(self, action: doc.TerminateWallet) -> None:
        """For ever."""
        self._post(f"wallets/{self._wallet(action.wallet)}/terminate", {})

    def void_event(self, action: doc.VoidEvent) -> None:
        """With a reason, as the API asks for one."""
        self._correct(action.event_id, "void", {})

    def amend_event(self, action: doc.AmendEvent) -> None:
        """All properties are replaced."""
        self._correct(action.event_id, "amend", {"properties": action.properties})

    def add_payment_method(self, action: doc.AddPaymentMethod) -> None:
        """A token with the answers that are left. Each invoice that waits for money is charged by itself, at once."""
        self._methods += 1
        used = self._attempts()
        left = self._scenario.payments[used:]
        waiting = sum(map(_awaits_money, self._invoices()))
        body = {"gateway_payment_method_id": token_of(left, self._methods), "payment_gateway": GATEWAY}
        self._api.put(f"subscriptions/{self._played.subscription_id}/payment_method", body)
        deadline, pause = time.monotonic() + max(CHARGED_SECONDS, self._patience / 4), pauses()
        while self._attempts() < used + waiting and time.monotonic() < deadline:
            time.sleep(next(pause))

    def _advance(self, to: datetime) -> None:
        """Posts what arrives on the way. An event may be sent a day ahead, but none before an earlier one."""
        while True:
            self._post_events()
            if self._clock.now >= to:
                return
            following = self._events[0].original.accepted_at if self._events else to
            self._clock.advance(min(to, following))

    def _post_events(self) -> None:
        batch: list[Json] = []
        while self._events and self._may_be_sent(self._events[0]):
            batch += self._bodies(self._events.popleft())
        for start in range(0, len(batch), BATCH):
            part = batch[start : start + BATCH]
            self._api.post_bytes("events/bulk", _encode({"events": part}))

    def _may_be_sent(self, logged: LoggedEvent) -> bool:
        """On time, which may be a day ahead; one that arrives late, not before it does."""
        event, now = logged.original, self._clock.now
        return event.accepted_at <= now or (event.accepted_at == event.at and event.at <= now + AHEAD)

    def _bodies(self, logged: LoggedEvent) -> list[Json]:
        event, setting = logged.original, self._played.setting
        body = {
            "event_name": event.event_name,
            "external_customer_id": setting.external_id,
            "timestamp": text(event.timestamp),
            "properties": event.properties,
        }
        name = self._name(event.event_id)
        names = [name] if logged.count == 1 else [f"{name}-{number}" for number in range(logged.count)]
        return [{**body, "event_id": each} for each in names]

    def _name(self, event_id: str) -> str:
        """An event's id in the environment: an id counts once there for ever."""
        return f"{self._played.setting.run}-{event_id}"

    def _correct(self, event_id: str, verb: str, body: Json) -> None:
        facts = {"reason": "the story says so", "external_customer_id": self._played.setting.external_id}
        self._api.post_bytes(f"events/{segment(self._name(event_id))}/{verb}", _encode({**facts, **body}))

    def _wallet(self, key: str) -> str:
        return next(wallet_id for wallet_id, name in self._played.wallets.items() if name == key)

    def _invoice(self, place: int) -> str:
        """The id of an invoice by its place; one that does not exist is asked for by a name that nothing has."""
        found = self._invoices()
        return segment(found[place]["id"] if 0 <= place < len(found) else "inv_none")

    def _invoices(self) -> list[Json]:
        customer = self._played.setting.customer_id
        return list(self._api.every("invoices", customer_id=customer, order="asc", skip_line_items=True))

    def _attempts(self) -> int:
        """How many answers of the provider are used up."""
        payments = self._api.every("payments", customer_id=self._played.setting.customer_id)
        return sum(len(payment["attempts"]) for payment in payments)

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        self._api.post(path, body, idempotency_key=str(uuid4()))

    def _refuse(self, place: int, refusal: ApiError) -> None:
        body = refusal.body if isinstance(refusal.body, dict) else {}
        self._played.refused.append(Refused(place, str(body.get("code", refusal.status)), str(refusal)))


def _awaits_money(invoice: Json) -> bool:
    owed = invoice["amount_remaining"] != "0" and not invoice.get("uncollectible")
    return invoice["invoice_status"] == "FINALIZED" and owed


ACTIONS: Final[Mapping[type[Any], Callable[[_Player, Any], None]]] = {
    doc.Cancel: _Player.cancel,
    doc.VoidInvoice: _Player.void_invoice,
    doc.Pay: _Player.pay,
    doc.CreditNote: _Player.credit_note,
    doc.AddPaymentMethod: _Player.add_payment_method,
    doc.TopUp: _Player.top_up,
    doc.Debit: _Player.debit,
    doc.TerminateWallet: _Player.terminate_wallet,
    doc.VoidEvent: _Player.void_event,
    doc.AmendEvent: _Player.amend_event,
}
