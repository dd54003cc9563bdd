"""The namespace caps of a FitPolicy, as pure arithmetic over what the InferenceDeployments of a namespace use.

Asked by the judge for creations and updates, and for /scale, where nothing else is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from plimsoll_estimator.units import GIB
from plimsoll_operator.api import FitPolicySpec
from plimsoll_operator.verdict import Plan, Reason, Reject

_COMPONENTS: Final = ("weightsBytes", "activationBytes", "cudaGraphBytes", "nonTorchBytes", "kvCacheBytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentUse:
    """What one InferenceDeployment holds by its applied plan. Without a plan its GPUs and bytes are 0."""

    replicas: int
    gpus_per_replica: int
    predicted_bytes_per_gpu: int

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.replicas * self.gpus_per_replica

    @property
    def predicted_bytes(self) -> int:
        """Predicted bytes over all GPUs: an upper bound, since the fullest rank stands for every rank."""
        return self.gpus * self.predicted_bytes_per_gpu


def use_of(obj: Mapping[str, Any]) -> DeploymentUse:
    """Read from an InferenceDeployment as stored; what is missing or not a number counts as 0, replicas as 1."""
    spec, status = _mapping(obj, "spec"), _mapping(obj, "status")
    plan = _mapping(status, "plan")
    predicted = _mapping(plan, "predicted")
    gpus = _count(plan, "gpusPerReplica", _count(plan, "tensorParallelSize", 0) * _count(plan, "pipelineParallelSize", 1))
    return DeploymentUse(
        replicas=_count(spec, "replicas", 1),
        gpus_per_replica=gpus,
        predicted_bytes_per_gpu=sum(_count(predicted, component, 0) for component in _COMPONENTS),
    )


def use_of_plan(plan: Plan, replicas: int) -> DeploymentUse:
    """What a plan that was just decided would hold."""
    parts = plan.predicted
    total = parts.weights_bytes + parts.activation_bytes + parts.cuda_graph_bytes + parts.non_torch_bytes + parts.kv_cache_bytes
    return DeploymentUse(replicas=replicas, gpus_per_replica=plan.gpus_per_replica, predicted_bytes_per_gpu=total)


def has_caps(policy: FitPolicySpec) -> bool:
    """Whether the policy limits a namespace at all."""
    return policy.max_gpus_per_namespace is not None or policy.max_predicted_gib_per_namespace is not None


def over_cap(policy: FitPolicySpec, others: Mapping[str, DeploymentUse], name: str, wanted: DeploymentUse) -> Reject | None:
    """A Reject when `wanted`, in the place of `name`, brings the namespace above a cap of its policy."""
    beside = [use for other, use in others.items() if other != name]
    gpus = wanted.gpus + sum(use.gpus for use in beside)
    cap = policy.max_gpus_per_namespace
    if cap is not None and gpus > cap:
        message = f"{wanted.replicas} replicas bring the namespace to {gpus} GPUs, the FitPolicy allows {cap}"
        return Reject(reason=Reason.POLICY_CAP, message=message, field="spec.replicas")
    predicted = wanted.predicted_bytes + sum(use.predicted_bytes for use in beside)
    cap = policy.max_predicted_gib_per_namespace
    if cap is not None and predicted > cap * GIB:
        shown = f"{predicted / GIB:.1f} GiB"
        message = f"{wanted.replicas} replicas bring the namespace to {shown} of predicted GPU memory, the FitPolicy allows {cap} GiB"
        return Reject(reason=Reason.POLICY_CAP, message=message, field="spec.replicas")
    return None


def _mapping(obj: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = obj.get(key)
    return value if isinstance(value, Mapping) else {}


def _count(obj: Mapping[str, Any], key: str, default: int) -> int:
    value = obj.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
