"""The errors that a rule can raise. Owns codes and shapes, not their translation to HTTP or Temporal.

BillingError
|-- Invalid          "validation_error"   a value breaks a rule; `field` names it
|-- NotFound         "not_found"          nothing has this id here
|-- AlreadyExists    "already_exists"     the natural key is taken
|-- Conflict         "conflict"           wrong state for this command; carries the state and what is possible
|-- NotAllowed       "permission_denied"  the caller may not do this
`-- InvariantBroken  "invariant_broken"   a law of the system does not hold: a defect, not the caller's fault
"""

from collections.abc import Mapping
from typing import Any


class BillingError(Exception):
    """Root of all planned errors. `message` says what was wrong and what would be right.

    `code` is stable and machine-readable, `field` is the path of the offending value (`tiers[1].up_to`), `details`
    holds JSON-able facts for the caller.
    """

    default_code = "billing_error"

    def __init__(
        self,
        message: str,
        field: str | None = None,
        details: Mapping[str, Any] | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.message = message
        self.field = field
        self.details: dict[str, Any] = dict(details or {})


class Invalid(BillingError):
    """A value breaks a rule. `field` names the value by its path on the wire."""

    default_code = "validation_error"


class NotFound(BillingError):
    """Nothing has this id in this tenant and environment."""

    default_code = "not_found"


class AlreadyExists(BillingError):
    """Another object already has this natural key (external id, lookup key, code)."""

    default_code = "already_exists"


class Conflict(BillingError):
    """The object is in a state in which this command is not possible.

    `state` is the present state, `possible` the commands that would be accepted now; both are also in `details`.
    """

    default_code = "conflict"

    def __init__(
        self,
        message: str,
        state: str,
        possible: tuple[str, ...] = (),
        field: str | None = None,
        details: Mapping[str, Any] | None = None,
        code: str | None = None,
    ) -> None:
        facts = {**(details or {}), "state": state, "possible": list(possible)}
        super().__init__(message, field, facts, code)
        self.state = state
        self.possible = possible


class NotAllowed(BillingError):
    """The caller is known but may not do this."""

    default_code = "permission_denied"


class InvariantBroken(BillingError):
    """A law that must always hold does not. Stops the work: nothing may be billed on a broken sum."""

    default_code = "invariant_broken"
