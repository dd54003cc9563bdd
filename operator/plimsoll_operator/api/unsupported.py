"""Fields that the API has and the code behind it does not honour yet: refused by name, never ignored.

Called by webhook, controller and CLI after parsing. The table is the one place to strike an entry when its behaviour
arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from plimsoll_operator.api.inference_deployment import InferenceDeploymentSpec

_Set = Callable[[InferenceDeploymentSpec], bool]

NOT_YET: Final[tuple[tuple[str, _Set], ...]] = (("spec.placement.queueName", lambda s: s.placement.queue_name is not None),)


def unsupported_fields(spec: InferenceDeploymentSpec) -> list[tuple[str, str]]:
    """(field path, message) of every field that is set and not honoured yet; empty when the whole spec is honoured."""
    return [(path, "is not supported yet") for path, is_set in NOT_YET if is_set(spec)]
