"""The meters that the benchmarks of usage have."""

from billing.meters import AggregationType, Filter, Meter


def ten_meters() -> list[Meter]:
    """Ten meters over five event names, as a plan of an AI company has them."""
    kinds = (
        (AggregationType.SUM, "tokens"),
        (AggregationType.COUNT, None),
        (AggregationType.MAX, "seconds"),
        (AggregationType.COUNT_UNIQUE, "user"),
        (AggregationType.LATEST, "seconds"),
    )
    large = (Filter("model", ("large", "ultra")),)
    return [
        Meter(f"meter_{number}", f"m{number}", f"call_{number % 5}", kind, key, large if number % 2 else ())
        for number, (kind, key) in enumerate(kinds * 2)
    ]
