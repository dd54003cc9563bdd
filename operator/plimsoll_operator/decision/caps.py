"""The namespace caps of a FitPolicy: pure arithmetic over what the InferenceDeployments of a namespace hold.

Asked by `decide` once a plan is found, and by the webhook for /scale, where nothing else is asked. Knows no pools.
"""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll_estimator.units import GIB
from plimsoll_operator.api import FitPolicySpec
from plimsoll_operator.facts import DeploymentUse
from plimsoll_operator.verdict import Plan, Reason, Reject


def use_of_plan(plan: Plan, replicas: int) -> DeploymentUse:
    """What a plan holds with this many replicas."""
    parts = plan.predicted
    total = parts.weights_bytes + parts.activation_bytes + parts.cuda_graph_bytes + parts.non_torch_bytes + parts.kv_cache_bytes
    return DeploymentUse(replicas=replicas, gpus_per_replica=plan.gpus_per_replica, predicted_bytes_per_gpu=total)


def over_cap(policy: FitPolicySpec, beside: Iterable[DeploymentUse], wanted: DeploymentUse) -> Reject | None:
    """A Reject when `wanted` brings the namespace, with what is beside it, above a cap of its policy."""
    others = tuple(beside)
    gpus = wanted.gpus + sum(use.gpus for use in others)
    cap = policy.max_gpus_per_namespace
    if cap is not None and gpus > cap:
        message = f"{_bring(wanted)} the namespace to {gpus} GPUs, the FitPolicy allows {cap}."
        return Reject(reason=Reason.POLICY_CAP, message=message, field="spec.replicas")
    predicted = wanted.predicted_bytes + sum(use.predicted_bytes for use in others)
    cap = policy.max_predicted_gib_per_namespace
    if cap is not None and predicted > cap * GIB:
        shown = f"{predicted / GIB:.1f} GiB"
        message = f"{_bring(wanted)} the namespace to {shown} of predicted GPU memory, the FitPolicy allows {cap} GiB."
        return Reject(reason=Reason.POLICY_CAP, message=message, field="spec.replicas")
    return None


def _bring(wanted: DeploymentUse) -> str:
    return "1 replica brings" if wanted.replicas == 1 else f"{wanted.replicas} replicas bring"
