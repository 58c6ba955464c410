"""Refuses a scenario that needs a rule which billing does not have: never a sum that is silently another.

Owns the list of such rules, each with the path of the field that asks for it. It shrinks as rules arrive.
"""

from collections.abc import Iterator

from billing.errors import Invalid
from billing.scenario import document as doc

NOT_OFFERED = "not_offered_yet"


class NotOffered(Invalid):
    """The rule that the field at `field` asks for does not exist here."""

    default_code = NOT_OFFERED


def not_offered(path: str, what: str) -> NotOffered:
    """The error of a document that needs `what`."""
    return NotOffered(f"{path}: {what} cannot be simulated yet", field=path)


def require_offered(scenario: doc.Scenario) -> None:
    """Raises NotOffered for the first thing in the document that billing has no rule for."""
    for path, what in _missing(scenario):
        raise not_offered(path, what)


def _missing(scenario: doc.Scenario) -> Iterator[tuple[str, str]]:
    for index, wallet in enumerate(scenario.wallets):
        if wallet.auto_topup is not None and wallet.auto_topup.invoicing:
            yield f"wallets[{index}].auto_topup.invoicing", "an automatic top-up by invoice"
