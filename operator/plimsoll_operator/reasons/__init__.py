"""Every reason that people read: of verdicts, conditions and events, each with what it means and what to do about it.

A reason is declared here, in one place, and said by its member wherever it is said. Read by `plimsoll explain`; the estimator's checks
have theirs in `cli.check_reasons`, what is wrong with a pool's nodes in `capacity.problems`. Data: knows sentences, no numbers.
"""

from plimsoll_operator.reasons.conditions import Why
from plimsoll_operator.reasons.verdicts import Reason

__all__ = ["Reason", "Why"]
