"""What a running stack made of stories, for a person and for a script: same, different, or not playable and why."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starter.cli import output

if TYPE_CHECKING:
    from starter.simulate.comparing import Comparison

Named = tuple[str, "Comparison"]


def show(compared: Sequence[Named]) -> None:
    """A line a document, every difference, and how many there are of each kind."""
    columns = [
        ("Document", output.field("document")),
        ("Outcome", output.field("outcome")),
        ("Invoices", output.field("invoices")),
        ("Why", output.field("why")),
    ]
    output.print_table("Simulator and stack", columns, [_row(*each) for each in compared], right=("Invoices",))
    rows = [
        {"document": document, "path": each.path, "simulator": _short(each.simulator), "stack": _short(each.stack)}
        for document, found in compared
        for each in found.differences
    ]
    if rows:
        names = ("document", "path", "simulator", "stack")
        output.print_table("Differences", [(name.capitalize(), output.field(name)) for name in names], rows)
    counts = {outcome: sum(found.outcome == outcome for _, found in compared) for outcome in OUTCOMES}
    output.print_facts("", [(label, str(counts[outcome])) for outcome, label in OUTCOMES.items() if counts[outcome]])


OUTCOMES = {"same": "Same", "different": "Different", "not_playable": "Not playable", "error": "No story"}


def as_json(compared: Sequence[Named]) -> dict[str, Any]:
    """The same, with everything that is left out of the comparison."""
    from starter.simulate.comparing import NOT_COMPARED

    return {
        "scenarios": [_json(document, found) for document, found in compared],
        "not_compared": [{"path": path, "reason": reason} for path, reason in NOT_COMPARED.items()],
    }


def _json(document: str, found: "Comparison") -> dict[str, Any]:
    return {
        "document": document,
        "name": found.name,
        "outcome": found.outcome,
        "differences": [
            {"path": each.path, "simulator": each.simulator, "stack": each.stack} for each in found.differences
        ],
        "not_playable": [{"path": gap.path, "reason": gap.reason} for gap in found.gaps],
        "error": found.error,
    }


def _row(document: str, found: "Comparison") -> dict[str, str]:
    why = "; ".join(f"{gap.path}: {gap.reason}" for gap in found.gaps)
    if found.error is not None:
        why = found.error["message"]
    elif found.differences:
        why = f"{len(found.differences)} fields"
    return {
        "document": document,
        "outcome": found.outcome.replace("_", " "),
        "invoices": str(found.invoices),
        "why": why,
    }


def _short(value: Any) -> str:
    shown = str(value)
    return shown if len(shown) <= 200 else f"{shown[:197]}..."
