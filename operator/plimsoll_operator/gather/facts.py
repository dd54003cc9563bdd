"""From cached objects to Facts, the same for webhook, controller and CLI: what `decide` may look at, put together.

Chooses nothing itself: `models` and `policies` do.
"""

from __future__ import annotations

from plimsoll_operator import calibration
from plimsoll_operator.api import (
    FitPolicySpec,
    InferenceDeployment,
)
from plimsoll_operator.facts import Bypass, Facts, NamespaceUse
from plimsoll_operator.gather.models import draft_of, model_of, siblings_of
from plimsoll_operator.gather.policies import policy_for
from plimsoll_operator.gather.store import Store
from plimsoll_operator.names import BYPASS_ANNOTATION
from plimsoll_operator.observation import own_correction
from plimsoll_operator.verdict import Plan


def facts_for(deployment: InferenceDeployment, store: Store, *, applied_plan: Plan | None, unknown_fields: tuple[str, ...] = ()) -> Facts:
    """Everything that `decide` may look at for this deployment. Raises nothing: what is missing is part of the facts."""
    namespace = deployment.metadata.namespace or "default"
    in_force = policy_for(namespace, store)
    policy = in_force.spec
    return Facts(
        deployment=deployment,
        model=model_of(deployment, namespace, store),
        pools=store.pool_facts(),
        policy=policy,
        policy_problem=in_force.problem,
        unknown_fields=unknown_fields,
        applied_plan=applied_plan,
        beside=_beside(deployment, namespace, policy, store),
        bypass=_bypass(deployment, store),
        siblings=siblings_of(deployment.spec.model, namespace, store),
        leader_worker_set=store.serves_leader_worker_sets(),
        draft=draft_of(deployment, namespace, store),
        corrections=(*calibration.applied(store.calibrations(), policy.calibration_trust), *own_correction(deployment)),
    )


def _beside(deployment: InferenceDeployment, namespace: str, policy: FitPolicySpec, store: Store) -> NamespaceUse:
    if policy.max_gpus_per_namespace is None and policy.max_predicted_gib_per_namespace is None:
        return NamespaceUse()
    return store.use_beside(namespace, deployment.metadata.name)


def _bypass(deployment: InferenceDeployment, store: Store) -> Bypass:
    if not deployment.metadata.annotations.get(BYPASS_ANNOTATION, "").strip():
        return Bypass.ABSENT
    return Bypass.HONOURED if store.bypass_is_protected() else Bypass.UNPROTECTED
