"""What one decision may cost: a budget of looks, the same on every machine, and a checkpoint where a caller's clock may stop it.

`engine` takes a look before each estimate, `search` before each candidate. Counts looks, never time: a verdict must not depend on
how fast a machine is. A caller who cannot wait hands in a checkpoint that raises OutOfTime; how it tells the time is its business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from plimsoll_operator.verdict import Reject, Undecided

Checkpoint: TypeAlias = Callable[[], None]

MOST_LOOKS: Final = 200_000
"""Looks of one decision. Deciding an ordinary request takes a hundred; the largest that was found, a worksheet refused on twelve pools over
up to 64 nodes a replica, with its offers, 60,000."""


class OutOfTime(Exception):
    """Raised by a checkpoint: the caller cannot wait any longer. `known` is a verdict without a plan, certain before it was complete."""

    def __init__(self, known: Reject | Undecided | None = None) -> None:
        self.known = known
        super().__init__("the decision was stopped before its end")


class TooComplex(Exception):
    """The budget of looks is spent. The same facts spend it again, wherever they are decided."""

    def __init__(self, most: int) -> None:
        super().__init__(f"deciding takes more than {most} estimates")


class Effort:
    """The budget of one decision, its offers included."""

    __slots__ = ("_at_leisure", "_checkpoint", "_most", "looks")

    def __init__(self, most: int = MOST_LOOKS, checkpoint: Checkpoint | None = None, at_leisure: Checkpoint | None = None) -> None:
        self._checkpoint = checkpoint
        self._at_leisure = at_leisure
        self._most = most
        self.looks = 0

    def look(self) -> None:
        """Before each piece of work. Raises TooComplex, and what the checkpoint raises."""
        self.looks += 1
        if self.looks > self._most:
            raise TooComplex(self._most)
        if self._checkpoint is not None:
            self._checkpoint()

    def verdict_is_certain(self) -> None:
        """From here on only offers are looked for, which a caller may want to wait less long for than for a verdict."""
        self._checkpoint = self._at_leisure or self._checkpoint
