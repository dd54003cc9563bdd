"""From cached objects to Facts: the first of gather, decide, apply. The same for webhook, controller and CLI.

Each door brings its own Store (informer cache, in-memory files); here the profile, the policy and the pools are chosen.
Makes no request, knows no clock, and never judges whether anything fits.
"""

from plimsoll_operator.gather.facts import facts_for
from plimsoll_operator.gather.models import CATALOGUE
from plimsoll_operator.gather.policies import policy_for
from plimsoll_operator.gather.shapes import config_bytes
from plimsoll_operator.gather.store import Store

__all__ = ["CATALOGUE", "Store", "config_bytes", "facts_for", "policy_for"]
