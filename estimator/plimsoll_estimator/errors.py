"""The estimator's errors: bad input and unknown territory. Everything else that is raised is a bug.

Every module of the estimator may raise these; the callers (CLI, webhook, controller, batch door) map them to their own
form. Expected outcomes ("does not fit") are values, never exceptions.
"""

from __future__ import annotations


class EstimatorError(ValueError):
    """Root of everything the estimator raises on purpose."""


class InvalidInput(EstimatorError):
    """Input that is at fault: names the field, the value and the limit it broke."""

    def __init__(self, field: str, value: object, limit: str) -> None:
        self.field = field
        self.value = value
        self.limit = limit
        shown = repr(value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        super().__init__(f"{field}: {shown} {limit}")


class Unsupported(EstimatorError):
    """The estimator has no rule for this; it does not guess. `reason` is PascalCase, the message names what is missing."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class EngineRefusal(EstimatorError):
    """vLLM itself would stop at this check; `reason` is PascalCase, the message is in vLLM's sense."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)
