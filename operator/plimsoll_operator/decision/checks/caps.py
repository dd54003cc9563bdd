"""The caps of a FitPolicy: pure arithmetic over what the InferenceDeployments of a namespace hold.

Asked by `steps` once a plan is found, by the webhook for /scale, where nothing else is asked, and by the controller before it
lets an applied plan have more replicas: no webhook may have looked. Knows no pools.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from plimsoll_estimator import GIB
from plimsoll_operator.api import FitPolicySpec
from plimsoll_operator.decision.checks.allowed import not_allowed, overlay_forbidden
from plimsoll_operator.facts import DeploymentUse, Facts, NamespaceUse
from plimsoll_operator.verdict import Plan, Reason, Reject, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Capped:
    """How many replicas an applied plan may have, and what is said to those beyond them; None where none is held."""

    replicas: int
    reject: Reject | None = None


def policy_unreadable(problem: str) -> Reject:
    """What a policy caps that nobody can read is not known: no more than there is."""
    return Reject(reason=Reason.POLICY_UNREADABLE, message=f"{problem}. Nothing is admitted under it.", field="metadata.namespace")


SPEC_RULES: Final = frozenset({Reason.INVALID_SPEC, Reason.NOT_SUPPORTED_YET})
"""Refusals of what the spec says, whoever asks and whatever the cluster has."""


def growth_refused(facts: Facts, verdict: Verdict) -> Reject | None:
    """Why an applied plan gets no further replica, whatever the caps say: its policy cannot be read, or forbids what it runs.

    A verdict names one fault. Where that is a rule about the spec, what is forbidden may stand behind it.
    """
    if facts.policy_problem:
        return policy_unreadable(facts.policy_problem)
    if facts.policy.mode == "Warn" or not isinstance(verdict, Reject):
        return None
    if verdict.reason is Reason.POLICY_FORBIDS:
        return verdict
    spec = facts.deployment.spec
    if verdict.reason not in SPEC_RULES:
        return None
    return not_allowed(spec, spec.engine.engine_version, facts.policy) or (overlay_forbidden(spec.template) if spec.template else None)


def use_of_plan(plan: Plan, replicas: int) -> DeploymentUse:
    """What a plan holds with this many replicas."""
    return DeploymentUse(replicas=replicas, gpus_per_replica=plan.gpus_per_replica, predicted_bytes_per_gpu=plan.predicted.total_bytes)


def over_cap(policy: FitPolicySpec, beside: NamespaceUse, wanted: DeploymentUse) -> Reject | None:
    """A Reject when `wanted` brings the namespace, with what is beside it, above a cap of its policy, or its replicas are too large."""
    cap = policy.max_gpus_per_replica
    if cap is not None and wanted.gpus_per_replica > cap:
        message = f"A replica of the plan has {wanted.gpus_per_replica} GPUs, the FitPolicy allows {cap}."
        return Reject(reason=Reason.POLICY_CAP, message=message, field="spec.replicas")
    gpus = wanted.gpus + beside.gpus
    cap = policy.max_gpus_per_namespace
    if cap is not None and gpus > cap:
        message = f"{_bring(wanted)} the namespace to {gpus} GPUs, the FitPolicy allows {cap}."
        return Reject(reason=Reason.POLICY_CAP, message=message, field="spec.replicas")
    predicted = wanted.predicted_bytes + beside.predicted_bytes
    cap = policy.max_predicted_gib_per_namespace
    if cap is not None and predicted > cap * GIB:
        shown = f"{predicted / GIB:.1f} GiB"
        message = f"{_bring(wanted)} the namespace to {shown} of predicted GPU memory, the FitPolicy allows {cap} GiB."
        return Reject(reason=Reason.POLICY_CAP, message=message, field="spec.replicas")
    return None


def within_caps(policy: FitPolicySpec, beside: NamespaceUse, plan: Plan, *, wanted: int, has: int) -> Capped:
    """How many of the replicas `wanted` of an applied plan its child may ask for, which asks for `has` now.

    What is there stays, also beyond a cap that was lowered since, and fewer may always be asked for.
    """
    all_of_them = use_of_plan(plan, wanted)
    reject = over_cap(policy, beside, all_of_them)
    if reject is None or wanted <= has or policy.mode == "Warn":
        return Capped(replicas=wanted)
    kept, too_many = has, wanted
    while too_many - kept > 1:
        middle = (kept + too_many) // 2
        if over_cap(policy, beside, replace(all_of_them, replicas=middle)) is None:
            kept = middle
        else:
            too_many = middle
    return Capped(replicas=kept, reject=reject)


def _bring(wanted: DeploymentUse) -> str:
    return "1 replica brings" if wanted.replicas == 1 else f"{wanted.replicas} replicas bring"
