"""Work, counted and never timed: calls of functions (Python's and C's), steps of generators, and comparisons of a config's own values."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


class Spent:
    """The counter of one measurement."""

    def __init__(self) -> None:
        self.steps = 0

    def profile(self, frame: object, event: str, arg: object) -> None:
        if event in ("call", "c_call"):
            self.steps += 1


class TooMuch(Exception):
    """Raised inside the measured code where it does more than it may: a test then ends by name instead of hanging."""


class Limited(Spent):
    """A counter that stops what it counts."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def profile(self, frame: object, event: str, arg: object) -> None:
        super().profile(frame, event, arg)
        if self.steps > self.most:
            sys.setprofile(None)
            raise TooMuch(f"more than {self.most} steps")


def counting(value: Any, spent: Spent) -> Any:
    """The same JSON value with numbers and texts whose comparisons count as steps."""

    class Number(int):
        def __eq__(self, other: object) -> bool:
            spent.steps += 1
            return int(self) == other

        __hash__ = int.__hash__

    class Text(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            spent.steps += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    def counted(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: counted(inner) for key, inner in one.items()}
        if isinstance(one, list):
            return [counted(inner) for inner in one]
        if isinstance(one, str):
            return Text(one)
        return Number(one) if type(one) is int else one

    return counted(value)


def steps(action: Callable[[], object], spent: Spent) -> int:
    """What one call takes. A counter with a limit raises TooMuch."""
    sys.setprofile(spent.profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return spent.steps
