"""What the fake payment company does with each payment token. Owns the list of tokens; stores nothing."""

from enum import StrEnum


class Step(StrEnum):
    """What happens to one charge."""

    OK = "ok"
    SOFT = "soft"
    HARD = "hard"
    ACTION = "action"
    PENDING = "pending"
    """A bank works on it until somebody says how it ended, on the page of the charge."""
    LOST = "lost"
    """The money is taken, then the connection drops without an answer."""
    DOWN = "down"
    """503 and nothing happens; the request uses up the step, so that the same attempt sent again takes the next one."""


REASONS = {Step.SOFT: "insufficient_funds", Step.HARD: "card_stolen"}

TOKENS = {
    "pm_card_succeeds": Step.OK,
    "pm_card_declines_soft": Step.SOFT,
    "pm_card_declines_hard": Step.HARD,
    "pm_card_needs_action": Step.ACTION,
    "pm_upi_pending": Step.PENDING,
    "pm_card_answer_lost": Step.LOST,
}
SCRIPT = "pm_script_"


def step_of(token: str, used: int) -> Step | None:
    """What the token does after `used` earlier steps of the same customer; None for a token that does not exist.

    `pm_script_ok_soft_ok` declines the second attempt softly; a script that is used up succeeds.
    """
    if token in TOKENS:
        return TOKENS[token]
    if not token.startswith(SCRIPT):
        return None
    words = token.removeprefix(SCRIPT).split("_")
    if not set(words) <= {step.value for step in Step}:
        return None
    return Step(words[used]) if used < len(words) else Step.OK
