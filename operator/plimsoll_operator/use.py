"""What an InferenceDeployment holds, read from it as the API server stores it.

Called by the webhook's cache and the CLI for every object, so that caps can be judged without keeping whole objects. Never
raises: a status is no user's input, and what is missing or not a number counts as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from pydantic.alias_generators import to_camel

from plimsoll_operator.api import PredictedMemory
from plimsoll_operator.facts import DeploymentUse

_COMPONENTS: Final = tuple(to_camel(field.name) for field in fields(PredictedMemory))


def use_of(obj: Mapping[str, Any]) -> DeploymentUse:
    """GPUs and predicted bytes of the applied plan in status; replicas from spec, 1 where absent."""
    spec, status = _mapping(obj, "spec"), _mapping(obj, "status")
    plan = _mapping(status, "plan")
    predicted = _mapping(plan, "predicted")
    gpus = _count(plan, "gpusPerReplica", _count(plan, "tensorParallelSize", 0) * _count(plan, "pipelineParallelSize", 1))
    return DeploymentUse(
        replicas=_count(spec, "replicas", 1),
        gpus_per_replica=gpus,
        predicted_bytes_per_gpu=sum(_count(predicted, component, 0) for component in _COMPONENTS),
    )


def _mapping(obj: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = obj.get(key)
    return value if isinstance(value, Mapping) else {}


def _count(obj: Mapping[str, Any], key: str, default: int) -> int:
    value = obj.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
