"""Versions of prices: which lines of a subscription take a newer one, and from when.

Owns syncing, and from when to when a version is sold: a subscription keeps the version of a price that it started a
period with, and takes a newer one at the start of its next period. A price of its own (an override) is no version of
the plan's and stays. Rules: billing-rules.md section 2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from billing.errors import Conflict, Invalid
from billing.prices import Price
from billing.subscription_changes import Changed, change_lines_at_period_end
from billing.subscriptions import SubscriptionState
from billing.terms import LineItem, Terms


def check_sold(start: datetime | None, end: datetime | None) -> None:
    """A price is sold over [start, end); None is not bounded. Raises Invalid for an end that is not after the start."""
    if start and end and end <= start:
        raise Invalid("end_date must lie after start_date", field="end_date")


def end_of_sale(start: datetime | None, end: datetime | None, at: datetime, field: str) -> datetime:
    """The end, at `at`, of a price that is sold over [start, end). Raises Invalid for one outside of that."""
    if start is not None and at < start:
        raise Invalid(f"{field} must not lie before the price's start_date {start.isoformat()}", field=field)
    if end is not None and at > end:
        raise Invalid(f"{field} must not lie after the price's end_date {end.isoformat()}", field=field)
    return at


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """`price` takes the place of `replaces`; without it the plan has the price no more."""

    replaces: Price
    price: Price | None


def outdated_lines(terms: Terms, state: SubscriptionState, versions: Sequence[PriceVersion]) -> tuple[LineItem, ...]:
    """The lines in force after the current period, or to begin later, that have a newer version, or none any more."""
    end = state.current_period.end
    lasting = [line for line in terms.lines if line.end is None or line.end > max(line.start, end)]
    return tuple(line for line in lasting if _newest(line.price, versions) != line.price)


def sync_prices(
    terms: Terms, state: SubscriptionState, versions: Sequence[PriceVersion], new_ids: Mapping[str, str]
) -> Changed:
    """The terms with the newest `versions` (in their order) from the end of the current period on.

    The close of that period bills the old lines as they were. Quantities, tax rates, agreed ends and commitments go
    on; `new_ids` name the successors of the `outdated_lines`. To be called before that boundary is closed; until then
    it can be forgotten. Raises Conflict for a line that is committed to for a duration: what counted is of one price.
    """
    at, outdated = state.current_period.end, outdated_lines(terms, state, versions)
    ids = {line.id: new_ids[line.id] for line in outdated}
    for commitment in terms.commitments:
        if commitment.line_item_id in ids and commitment.duration is not None:
            raise Conflict(
                f"sync is not possible: line {commitment.line_item_id} is committed to for a"
                f" {commitment.duration} period at one price",
                state=state.status,
                field="commitment_duration",
            )
    added = [
        replace(line, id=ids[line.id], price=price, start=max(line.start, at), end=line.agreed_end)
        for line in outdated
        if (price := _newest(line.price, versions)) is not None
    ]
    # the commitment of a line that ended is met once more, by its last period
    followed = [
        replace(one, line_item_id=ids[one.line_item_id])
        for one in terms.commitments
        if one.line_item_id in ids and any(line.id == ids[one.line_item_id] for line in added)
    ]
    changed = change_lines_at_period_end(terms, state, list(ids), added)
    after = replace(changed.terms, commitments=(*terms.commitments, *followed))
    return replace(changed, terms=after)


def _newest(price: Price, versions: Sequence[PriceVersion]) -> Price | None:
    found: Price | None = price
    for version in versions:
        if found == version.replaces:
            found = version.price
    return found
