"""Balance alerts: in which state a wallet's balance is, and when that is worth telling.

Owns states and thresholds; who is told is not decided here. Rules: billing-rules.md section 9: on a change of state
only.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Final

from billing.errors import Invalid
from billing.money import decimal_text


class AlertState(StrEnum):
    """How serious it is, in this order."""

    ok = "ok"
    info = "info"
    warning = "warning"
    in_alarm = "in_alarm"


class AlertCondition(StrEnum):
    """On which side of its threshold a balance raises an alert; on the threshold itself, too."""

    below = "below"
    above = "above"


@dataclass(frozen=True, slots=True)
class AlertThreshold:
    """A balance (major units) that raises an alert when it is there or beyond."""

    threshold: Decimal
    condition: AlertCondition = AlertCondition.below

    def reached(self, balance: Decimal) -> bool:
        """Whether `balance` raises it."""
        below = self.condition is AlertCondition.below
        return balance <= self.threshold if below else balance >= self.threshold


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """What a wallet's owner wants to know. Raises Invalid when a graver alert would come before a lesser one."""

    critical: AlertThreshold | None = None
    warning: AlertThreshold | None = None
    info: AlertThreshold | None = None
    alert_enabled: bool = True

    def __post_init__(self) -> None:
        given = [(name, getattr(self, name)) for name in ("info", "warning", "critical") if getattr(self, name)]
        for (lesser, first), (graver, second) in pairwise(given):
            if first.condition is not second.condition:
                raise Invalid(f"{graver}.condition must be that of {lesser}: {first.condition}", f"{graver}.condition")
            if not first.reached(second.threshold):
                shown = decimal_text(first.threshold)
                raise Invalid(
                    f"{graver}.threshold must not be reached before that of {lesser}, {shown}", f"{graver}.threshold"
                )


@dataclass(frozen=True, slots=True)
class AlertChange:
    """A state that has changed; `event` is the webhook's name."""

    before: AlertState
    after: AlertState
    event: str


DROPPED: Final = "wallet.ongoing_balance.dropped"
RECOVERED: Final = "wallet.ongoing_balance.recovered"
_ORDER: Final = tuple(AlertState)


def alert_state(settings: AlertSettings, balance: Decimal) -> AlertState:
    """The gravest state that a balance is in."""
    if not settings.alert_enabled:
        return AlertState.ok
    states = (
        (settings.critical, AlertState.in_alarm),
        (settings.warning, AlertState.warning),
        (settings.info, AlertState.info),
    )
    return next((state for one, state in states if one is not None and one.reached(balance)), AlertState.ok)


def alert_change(settings: AlertSettings, balance: Decimal, before: AlertState) -> AlertChange | None:
    """What to tell when a balance is looked at; None when its state is what it was."""
    after = alert_state(settings, balance)
    if after is before:
        return None
    graver = _ORDER.index(after) > _ORDER.index(before)
    return AlertChange(before, after, DROPPED if graver else RECOVERED)
