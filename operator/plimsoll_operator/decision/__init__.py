"""The decision: one pure function from Facts to a Verdict, used by every door. `decide_within` is the same for a caller with a deadline."""

from plimsoll_operator.decision.decide import decide, decide_within, recall
from plimsoll_operator.decision.effort import OutOfTime

__all__ = ["OutOfTime", "decide", "decide_within", "recall"]
