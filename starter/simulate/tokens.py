"""The provider's answers of a story as a payment token of the sandbox provider, which does what its token says."""

from collections.abc import Sequence
from typing import Final

from billing.scenario.document import PaymentAnswer

STEPS: Final = {"succeeded": "ok", "requires_action": "action", "unknown": "lost"}


def token_of(answers: Sequence[PaymentAnswer], number: int = 0) -> str:
    """A token that gives `answers` one after the other and succeeds from then on; another one for another `number`."""
    steps = [STEPS.get(answer.outcome) or str(answer.kind) for answer in answers]
    return "pm_script_" + "_".join([*steps, "ok", *["ok"] * number])
