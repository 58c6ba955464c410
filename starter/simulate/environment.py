"""The environment's billing settings while a story is played: the story's own, afterwards what was there before."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from billing.scenario.document import SettingsPart
from starter.cli.api_client import Api

PATH: Final = "settings/billing"


@contextmanager
def settings_of(api: Api, part: SettingsPart) -> Iterator[None]:
    """Settings differ only inside; where they are the same already nothing is written."""
    before = _stored(api.get(PATH)["value"])
    wanted = {
        "finalization_delay_seconds": part.finalization_delay_seconds,
        "due_date_days": part.due_date_days,
        "timezone": "UTC",
        "dunning_days": list(part.dunning_days),
        "dunning_hour": part.dunning_hour,
        "on_exhausted_invoice": part.on_exhausted_invoice.value,
        "on_exhausted_subscription": part.on_exhausted_subscription.value,
        "late_usage": part.late_usage,
        "late_usage_periods": part.late_usage_periods,
        "late_usage_days": part.late_usage_days,
    }
    changed = {name for name in wanted if wanted[name] != before[name]}
    if changed:
        api.put(PATH, {name: wanted[name] for name in changed})
    try:
        yield
    finally:
        if changed:
            api.put(PATH, {name: before[name] for name in changed})


def _stored(value: dict[str, Any]) -> dict[str, Any]:
    """Settings in force under the names by which they are changed."""
    dunning, late = value["dunning"], value["late_usage"]
    return {
        "finalization_delay_seconds": value["finalization_delay_seconds"],
        "due_date_days": value["due_date_days"],
        "timezone": dunning["zone"],
        "dunning_days": dunning["schedule_days"],
        "dunning_hour": dunning["hour"],
        "on_exhausted_invoice": dunning["on_exhausted_invoice"],
        "on_exhausted_subscription": dunning["on_exhausted_subscription"],
        "late_usage": late["policy"],
        "late_usage_periods": late["periods"],
        "late_usage_days": late["days"],
    }
