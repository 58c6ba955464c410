"""What the subscription of a scenario promises to use. Errors carry the path of the part.

Owns the defaults of a time of day: what its price keeps of the line's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from billing.commitments import Commitment, CommitmentType, TimeBucket, check_aligned, check_duration
from billing.errors import Invalid
from billing.meters import Meter
from billing.prices import BillingModel, Price
from billing.scenario import document as doc
from billing.scenario.catalog import subscription_cadence, tiers_of, transform_of
from billing.scenario.decoding import at_path


def build_commitments(
    scenario: doc.Scenario, meters: Mapping[str, Meter], prices: Sequence[Price]
) -> tuple[Commitment, ...]:
    """The commitment of the subscription or those of its lines, which have `prices`. Raises Invalid."""
    part = scenario.subscription
    own = {price.id: price for price in prices}
    lines = [_of_line(scenario, meters, own[key], each) for key, each in part.line_commitments.items()]
    whole = part.commitment
    if whole is None:
        return tuple(lines)
    try:
        check_duration(whole.commitment_duration, [subscription_cadence(scenario)])
        commitment = Commitment(
            CommitmentType.amount,
            whole.commitment_amount,
            overage_factor=whole.overage_factor,
            true_up=whole.enable_true_up,
            duration=whole.commitment_duration,
        )
    except Invalid as error:
        raise at_path(error, "subscription.commitment") from error
    return (commitment, *lines)


def _of_line(
    scenario: doc.Scenario, meters: Mapping[str, Meter], price: Price, part: doc.LineCommitmentPart
) -> Commitment:
    path = f"subscription.line_commitments.{price.id}"
    meter = meters.get(price.meter_id or "")
    if part.is_window_commitment and (meter is None or meter.bucket_size is None):
        where = f"{path}.is_window_commitment"
        raise Invalid(f"{where} needs a meter with a bucket_size", field=where)
    value = _value(part, path)
    buckets = [
        _time_bucket(scenario, meter, price, each, f"{path}.commitment_time_buckets[{place}]")
        for place, each in enumerate(part.commitment_time_buckets)
    ]
    try:
        check_duration(part.commitment_duration, [subscription_cadence(scenario), price.cadence])
        return Commitment(
            CommitmentType(part.commitment_type),
            value,
            line_item_id=price.id,
            overage_factor=part.overage_factor,
            true_up=part.enable_true_up,
            duration=part.commitment_duration,
            windowed=part.is_window_commitment,
            time_buckets=tuple(buckets),
        )
    except Invalid as error:
        raise at_path(error, path) from error


def _value(part: doc.LineCommitmentPart, path: str) -> Decimal:
    """What is promised; beside times of day it may be absent."""
    kind = CommitmentType(part.commitment_type)
    given = {CommitmentType.amount: part.commitment_amount, CommitmentType.quantity: part.commitment_quantity}
    value = given.pop(kind)
    missing = value is None and not part.commitment_time_buckets
    if missing or any(other is not None for other in given.values()):
        where = f"{path}.commitment_{kind}"
        raise Invalid(f"{where} is required for commitment_type {kind}, and no other value", field=where)
    return Decimal(0) if value is None else value


def _time_bucket(
    scenario: doc.Scenario, meter: Meter | None, price: Price, part: doc.TimeBucketPart, path: str
) -> TimeBucket:
    subscription = scenario.subscription
    own = None if part.price is None else _price(price, part.price, f"{path}.price")
    try:
        bucket = TimeBucket(
            start=_minutes(part.start, "start"),
            end=_minutes(part.end, "end"),
            type=CommitmentType(part.commitment_type),
            value=part.commitment_value,
            price=own,
            overage_factor=part.overage_factor,
            true_up=part.true_up_enabled,
        )
        if meter is not None and meter.bucket_size is not None:
            check_aligned(bucket, meter.bucket_size, scenario.customer.timezone, subscription.start_date)
    except Invalid as error:
        raise at_path(error, path) from error
    return bucket


def _price(price: Price, part: doc.BucketPricePart, path: str) -> Price:
    """The line's price with another charge; tier mode and packages stay where they fit and none are given."""
    tiered, packaged = part.billing_model is BillingModel.TIERED, part.billing_model is BillingModel.PACKAGE
    try:
        return replace(
            price,
            billing_model=part.billing_model,
            amount=part.amount,
            tiers=tiers_of(part.tiers),
            tier_mode=part.tier_mode or (price.tier_mode if tiered else None),
            transform_quantity=transform_of(part.transform_quantity)
            or (price.transform_quantity if packaged else None),
            maximum_amount=None,
        )
    except Invalid as error:
        raise at_path(error, path) from error


def _minutes(part: doc.ClockTimePart, name: str) -> int:
    for field, value, end in (("hour", part.hour, 24), ("minute", part.minute, 60)):
        if not 0 <= value < end:
            raise Invalid(f"{name}.{field} must be from 0 to {end - 1}; got {value}", field=f"{name}.{field}")
    return part.hour * 60 + part.minute
