"""Two results of one story, field by field.

Owns what the two cannot have equal by nature, each with its reason.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from starter.simulate.gaps import Gap

Json = dict[str, Any]
NOT_COMPARED: Final = {
    "invoices[].number": "compared by month and order: other invoices of the environment share the sequence",
    "refused[].message": "names ids of the run; the code is compared",
    "wallets[].transactions[].reference_id": "compared where it is the invoice that was paid",
    "rejected_events": "the API does not tell which of the accepted events do not count",
    "timeline": "the API has no list of what happened; the instants are compared where they show",
}
"""Parts of the result that are left out or made comparable, and why."""
INVOICE_PAYMENT: Final = "INVOICE_PAYMENT"
ABSENT: Final = "(absent)"


@dataclass(frozen=True, slots=True)
class Difference:
    """A field whose values are not the same; `path` is that of the result."""

    path: str
    simulator: Any
    stack: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of one document. `error` is that of a document that makes no sense: code, message and path."""

    name: str
    gaps: tuple[Gap, ...] = ()
    differences: tuple[Difference, ...] = ()
    invoices: int = 0
    error: Json | None = None

    @property
    def outcome(self) -> str:
        """same, different, not_playable or error."""
        if self.error is not None:
            return "error"
        if self.gaps:
            return "not_playable"
        return "different" if self.differences else "same"


def differences(simulator: Json, stack: Json) -> tuple[Difference, ...]:
    """Every difference between the results of a story, in the order of the document."""
    return tuple(_differences(comparable(simulator), comparable(stack), ""))


def comparable(result: Json) -> Json:
    """The result without what NOT_COMPARED names."""
    left = copy.deepcopy({name: value for name, value in result.items() if name not in NOT_COMPARED})
    for refused in left["refused"]:
        del refused["message"]
    for wallet in left["wallets"]:
        for transaction in wallet["transactions"]:
            if transaction["transaction_reason"] != INVOICE_PAYMENT:
                del transaction["reference_id"]
    numbers = sorted(invoice["number"] for invoice in left["invoices"] if invoice["number"])
    months = [number.rpartition("-")[0] for number in numbers]
    for invoice in left["invoices"]:
        if invoice["number"]:
            month = invoice["number"].rpartition("-")[0]
            invoice["number"] = f"{month}-{numbers.index(invoice['number']) - months.index(month) + 1:05d}"
    return left


def _differences(simulator: Any, stack: Any, path: str) -> Iterator[Difference]:
    if isinstance(simulator, dict) and isinstance(stack, dict):
        for name in [*simulator, *(name for name in stack if name not in simulator)]:
            where = f"{path}.{name}".lstrip(".")
            yield from _differences(simulator.get(name, ABSENT), stack.get(name, ABSENT), where)
    elif isinstance(simulator, list) and isinstance(stack, list):
        for place, (left, right) in enumerate(zip_longest(simulator, stack, fillvalue=ABSENT)):
            yield from _differences(left, right, f"{path}[{place}]")
    elif simulator != stack:
        yield Difference(path, simulator, stack)
