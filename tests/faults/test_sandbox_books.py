"""The payment company that reports every outcome: which webhooks its books hold, without the rest of it."""

import json
from decimal import Decimal
from pathlib import Path

from starter.sandbox_provider.books import Books, Order

URL = "http://127.0.0.1:1/hook"


def order(attempt: str, token: str) -> Order:
    """A charge of 5."""
    return Order(attempt, "inv", "cust", token, Decimal(5), "usd", {}, attempt + token)


def test_every_outcome_is_reported_once(tmp_path: Path) -> None:
    """What waits for the customer has no outcome yet; a request that comes again makes no news."""
    books = Books(tmp_path / "books.sqlite")
    for attempt, token in (("a", "pm_card_succeeds"), ("a", "pm_card_succeeds"), ("b", "pm_card_declines_soft")):
        books.charge(order(attempt, token), URL)
    books.charge(order("c", "pm_card_answer_lost"), URL)
    waiting, _ = books.charge(order("d", "pm_card_needs_action"), URL)
    books.charge(order("e", "pm_card_succeeds"))
    told = [json.loads(each.body)["data"]["attempt_id"] for each in books.webhooks_to_send()]
    assert told == ["a", "b", "c"]
    books.complete_action(waiting.id, True, URL)
    assert len(books.webhooks_to_send()) == 4
    books.close()
