"""Which payment provider a customer's token belongs to."""

from collections.abc import Collection

from billing.errors import Invalid


def gateway_of(method: str | None, gateway: str | None, configured: Collection[str]) -> str | None:
    """The provider of payment method `method`: the one named, else the only one that is configured.

    Raises Invalid for a provider that is not configured, a method whose provider cannot be told, and a provider without
    a method.
    """
    names = ", ".join(sorted(configured)) or "none"
    if gateway is not None and gateway not in configured:
        raise Invalid(
            f"payment_gateway {gateway!r} is not configured here; configured: {names}", field="payment_gateway"
        )
    if method is None or gateway is not None:
        return gateway
    if len(configured) != 1:
        raise Invalid(
            f"payment_gateway must name the provider of gateway_payment_method_id; configured: {names}",
            field="payment_gateway",
        )
    return next(iter(configured))
