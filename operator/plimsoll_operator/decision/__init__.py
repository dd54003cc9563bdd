"""The decision: one pure function from Facts to a Verdict, used by every door."""

from plimsoll_operator.decision.decide import decide

__all__ = ["decide"]
