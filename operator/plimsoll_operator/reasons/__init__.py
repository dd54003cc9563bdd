"""Every reason that people read: of verdicts, conditions and events, each with what it means and what to do about it.

A reason is declared here, in one place, and said by its member wherever it is said. Read by `plimsoll explain`; the estimator's checks
have theirs in `cli.check_reasons`, what is wrong with a pool's nodes in `capacity.problems`. Data: knows sentences, no numbers.
"""

from plimsoll_operator.reasons.conditions import Why
from plimsoll_operator.reasons.no_shape import NoShape
from plimsoll_operator.reasons.pods import PodsFailReason
from plimsoll_operator.reasons.verdicts import Reason

CONDITION_REASONS = tuple(dict.fromkeys((*Why, *NoShape, *PodsFailReason)))
"""Every reason of a condition or event that is no verdict's, each word once."""
NOT_READY = {str(why): why.not_ready for why in (*Why, *PodsFailReason) if why.not_ready is not None}
"""What goes with each reason why an InferenceDeployment is not Ready."""

__all__ = ["CONDITION_REASONS", "NOT_READY", "NoShape", "PodsFailReason", "Reason", "Why"]
