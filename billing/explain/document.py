"""An explanation as a document for programs: texts, exact amounts as fractions and decimals, windows with their usage.

Owns the names of fields.
"""

from typing import Any

from billing.codec import instant_text
from billing.explain.parts import LineExplanation, Section, Window
from billing.explain.wording import exact
from billing.money import decimal_text, shown_decimal

Json = dict[str, Any]


def document_of(explained: LineExplanation) -> Json:
    """A line: its title, its prose, its sections with their parts. `amount` has 12 digits, `exact` is the fraction."""
    return {
        "title": explained.title,
        "text": explained.text,
        "sections": [_section(each) for each in explained.sections if each.text or each.parts],
    }


def _section(section: Section) -> Json:
    return {
        "figure": section.figure.value,
        "notes": [*section.notes],
        "windows": [_window(window) for window in section.windows],
        "parts": [
            {
                "label": part.label,
                "how": part.how,
                "amount": decimal_text(shown_decimal(part.amount)),
                "exact": str(part.amount),
            }
            for part in section.parts
        ],
    }


def _window(window: Window) -> Json:
    """A window or bucket: what was used, what the allowance of its reset window took, what it costs if priced alone."""
    part = window.part
    found = {
        "name": window.name,
        "period_start": instant_text(part.period.start),
        "period_end": instant_text(part.period.end),
        "quantity": exact(part.quantity),
        "billable": exact(part.quantity - part.free),
    }
    if part.group is not None:
        found["group"] = part.group
    if part.window is not None:
        found["free"] = exact(part.free)
        found["used_before"] = exact(part.used)
        found["usage_limit"] = "unlimited" if part.limit is None else exact(part.limit)
        found["reset_start"] = instant_text(part.window.start)
        found["reset_end"] = instant_text(part.window.end)
    if part.amount is not None:
        found["amount"] = exact(part.amount)
    return found
