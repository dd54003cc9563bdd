"""The estimator's errors: bad input and unknown territory. Everything else that is raised is a bug.

Every module of the estimator may raise these; the callers (CLI, webhook, controller, batch door) map them to their own
form. Expected outcomes ("does not fit") are values, never exceptions.
"""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator.checks import Check

# Bounded in depth and length: the value may be nested to the parser's limit or megabytes long.
_REPR: Final = reprlib.Repr()
_REPR.maxlevel, _REPR.maxlist, _REPR.maxtuple, _REPR.maxdict = 3, 12, 12, 8
_REPR.maxstring = _REPR.maxother = _MOST_SHOWN = 80
_MOST_NAMED: Final = 300
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""What moves a terminal's cursor or colours, but for the end of a line."""


class EstimatorError(ValueError):
    """Root of everything the estimator raises on purpose. Its text can be written down whatever it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(_CONTROL.sub(lambda sign: f"\\x{ord(sign[0]):02x}", message.encode("utf-8", "backslashreplace").decode()))


class InvalidInput(EstimatorError):
    """Input that is at fault: names the field, the value and the limit it broke. A value of None is one that is not there."""

    def __init__(self, field: str, value: object, limit: str) -> None:
        self.field = field
        self.value = value
        self.limit = limit
        # Python refuses to print an integer of more than 4300 digits.
        whole = isinstance(value, int) and value.bit_length() > 1024
        shown = "a number of more than 300 digits" if whole else _REPR.repr(value)
        if len(shown) > _MOST_SHOWN:
            shown = shown[: _MOST_SHOWN - 3] + "..."
        named = field if len(field) <= _MOST_NAMED else field[: _MOST_NAMED - 3] + "..."
        super().__init__(f"{named} {limit}" if value is None else f"{named}: {shown} {limit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What may start where something is refused: the same with one argument otherwise, or under another release, and how that is said.

    No more than a candidate: whoever words the refusal tries it first (`estimate.prepare`), so that no advice leads to the next refusal.
    """

    words: str
    argument: str = ""
    """A field of EngineArgs, and the text it should have."""
    value: str = ""
    release: str = ""


def use(argument: str, value: str) -> Remedy:
    """The remedy of one argument."""
    return Remedy(words=f"use {argument} {value}", argument=argument, value=value)


class Unsupported(EstimatorError):
    """The estimator has no rule for this; it does not guess. `reason` says what it is about, the message names what is missing.

    `remedies`: what may have a rule, the one to try first in front.
    """

    def __init__(self, reason: Check, message: str, remedies: tuple[Remedy, ...] = ()) -> None:
        self.reason = reason
        self.remedies = remedies
        super().__init__(message)


class EngineRefusal(EstimatorError):
    """vLLM itself would stop at this check; the message is in vLLM's sense. `remedies`: as of Unsupported."""

    def __init__(self, reason: Check, message: str, remedies: tuple[Remedy, ...] = ()) -> None:
        self.reason = reason
        self.remedies = remedies
        super().__init__(message)
