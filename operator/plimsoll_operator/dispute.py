"""What others do to the children of a plan, as values: kept by the controller's disputes, read by conditions and events. Knows no child."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from plimsoll_operator.reasons import Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """A child that was put right since it was last told. `occasion` tells two of the same words apart, also over a restart."""

    reason: Literal[Why.CHANGED_BY_OTHERS, Why.CHILD_RESTORED]
    message: str
    occasion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """Somebody else changes what the plan sets. `waiting`: it is left so for a while, because it goes on. `mended`: what was put right."""

    message: str
    waiting: bool
    mended: tuple[Mended, ...] = ()
