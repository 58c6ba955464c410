"""Plays stories through the public API as a good client does: what is not answered is sent again, under the same key.

Once a story is compared, some of what was paid in it is given back: the simulator knows no refunds. Owns patience.
Which call does what is `starter.simulate.player`'s business.
"""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from billing.money import decimal_text, exponent
from starter.cli.api_client import BUSY, Api, ApiError
from starter.cli.shared import CliError
from starter.simulate.comparing import Difference, differences
from starter.simulate.player import play
from starter.simulate.reading import read_result
from tests.faults.driver.stories import Story

if TYPE_CHECKING:
    import httpx

PATIENCE_SECONDS = 420
PAUSE_SECONDS = 0.2
READING = "GET"
KEY = "idempotency-key"


@dataclass
class Tally:
    """What clients have seen, counted by all of them."""

    counts: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    """Answers that no server should give: 5xx without a word on when to come back."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str, complaint: str = "") -> None:
        """One more of `what`."""
        with self._lock:
            self.counts[what] += 1
            if complaint:
                self.complaints.append(complaint)


class PatientApi(Api):
    """An `Api` that asks until it is answered. Every changing call carries an Idempotency-Key, the same in each try."""

    def __init__(self, url: str, api_key: str, tally: Tally) -> None:
        super().__init__(url, api_key)
        self._tally = tally

    def send(self, method: str, path: str, **arguments: Any) -> "httpx.Response":
        """Raises ApiError for what is refused for good, CliError when nobody answers for too long."""
        if method != READING:
            arguments["headers"] = {KEY: str(uuid4()), **arguments.get("headers", {})}
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = super().send(method, path, **arguments)
                self._tally.note("requests")
                if "idempotent-replayed" in answer.headers:
                    self._tally.note("answers given again")
                return answer
            except ApiError as refusal:
                if refusal.status not in BUSY and refusal.retry_after is None:
                    if refusal.status < 500:
                        raise
                    self._tally.note("answers of 5xx", f"{method} {path}: {refusal.status} {refusal}")
                self._tally.note("requests turned away")
                if time.monotonic() > until:
                    raise
            except CliError:
                self._tally.note("requests without an answer")
                if time.monotonic() > until:
                    raise
            time.sleep(PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one story."""

    story: Story
    tenant: int
    customer_id: str = ""
    differences: tuple[Difference, ...] = ()
    wallets: dict[str, str] = field(default_factory=dict)
    """The document's key of a wallet by its id."""
    stopped: str = ""
    """Why the stack did not go on, if it did not."""


def play_and_compare(url: str, api_key: str, told: Story, tenant: int, tally: Tally) -> Outcome:
    """The whole story, then what is there against what the simulator says, then refunds."""
    with PatientApi(url, api_key, tally) as api:
        try:
            played = play(api, told.scenario, patience=PATIENCE_SECONDS)
            found = read_result(api, told.scenario.name, played)
            _give_back(api, played.setting.customer_id, random.Random(told.name), tally)
        except CliError as problem:
            return Outcome(told, tenant, stopped=f"{type(problem).__name__}: {problem}")
        return Outcome(told, tenant, played.setting.customer_id, differences(told.expected, found), played.wallets)


def _give_back(api: PatientApi, customer_id: str, chance: random.Random, tally: Tally) -> None:
    """Every other charge goes back to its card: all that is left of it, or a cent or so."""
    for payment in list(api.every("payments", customer_id=customer_id, order="asc")):
        if payment["payment_status"] != "SUCCEEDED" or not payment.get("payment_gateway") or chance.random() < 0.5:
            continue
        smallest = decimal_text(Decimal(1).scaleb(-exponent(payment["currency"])))
        try:
            api.post(f"payments/{payment['id']}/refund", chance.choice(({}, {"amount": smallest})))
            tally.note("refunds asked for")
        except ApiError as refusal:
            if refusal.status not in (400, 409):  # credit notes have given all of it back
                raise
            tally.note("refunds refused")
