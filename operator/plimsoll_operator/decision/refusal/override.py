"""What happens to a rejection that is only a warning here: by the namespace's FitPolicy, or by an authorised bypass annotation.

Called by `steps` after the search has failed. Pods of a plan that is predicted not to start are made only at values that
the user has pinned: nothing is computed for a start that the computation denies. Knows no annotation and no API.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator import Estimate
from plimsoll_operator.decision.fit import utilisation
from plimsoll_operator.decision.fit.engine import Engine
from plimsoll_operator.decision.fit.fit import Fit
from plimsoll_operator.decision.fit.host import pod_needs
from plimsoll_operator.decision.fit.kv_demand import demanded_blocks
from plimsoll_operator.decision.fit.life import life_of
from plimsoll_operator.decision.fit.workload import engine_request_of
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.search.candidate import Found, Missed
from plimsoll_operator.decision.search.search import best_miss
from plimsoll_operator.facts import Bypass, Facts
from plimsoll_operator.verdict import Reason, Reject

# What cannot be read or would be ignored is refused whatever the mode.
_ALWAYS_REFUSED: Final = frozenset({Reason.INVALID_SPEC, Reason.NOT_SUPPORTED_YET, Reason.POLICY_UNREADABLE})
# A bypass is about one prediction; what the administrator allows a namespace, and another model's shape, are no predictions.
_NOT_BYPASSED: Final = _ALWAYS_REFUSED | {Reason.POLICY_CAP, Reason.POLICY_FORBIDS, Reason.MODEL_MISMATCH, Reason.SHARING_UNSAFE}
# Refusals of a placement that pods could still be made for: not what vLLM itself refuses by its arguments, which is certain.
_PREDICTED: Final = frozenset(
    {
        Reason.INSUFFICIENT_GPU_MEMORY,
        Reason.INSUFFICIENT_KV_CACHE,
        Reason.WORKLOAD_NOT_SERVED,
        Reason.HOST_MEMORY,
        Reason.HOST_CPU,
        Reason.EPHEMERAL_STORAGE,
    }
)
PIN_FIRST: Final = "No pods are made until engine.tensorParallelSize and engine.gpuMemoryUtilization are pinned."

UNPROTECTED_BYPASS: Final = "The bypass annotation is not honoured: no ValidatingAdmissionPolicy protects it here."


def is_lifted(reject: Reject, facts: Facts) -> bool:
    """Whether this refusal is only a warning for this deployment."""
    if facts.policy.mode == "Warn" and reject.reason not in _ALWAYS_REFUSED:
        return True
    return facts.bypass is Bypass.HONOURED and reject.reason not in _NOT_BYPASSED


def why_lifted(facts: Facts) -> str:
    """The sentence that says on whose word."""
    return "the FitPolicy only warns" if facts.policy.mode == "Warn" else "the bypass annotation says so"


def pinned_placement(engine: Engine, request: DeploymentRequest, reject: Reject, misses: tuple[Missed, ...]) -> Found | None:
    """The placement that misses by least, at the pinned values; None where they are not all pinned or pods cannot be made for it.

    The figures are the estimate's own, so a plan made of it shows what is predicted to be missing.
    """
    pinned = request.args.gpu_memory_utilization
    if reject.reason not in _PREDICTED or not misses or pinned is None or request.args.tensor_parallel_size is None:
        return None
    candidate = best_miss(misses).candidate
    product = min(candidate.products, key=lambda one: (one.gpu.total_memory_bytes, one.gpu.product))
    layout = candidate.layout
    engine_request = engine_request_of(request, layout.arguments(request.args))
    prepared = engine.prepare(engine_request.args, product.gpu)
    if isinstance(prepared, Estimate):
        return None
    found = Fit(
        args=engine_request.args,
        prepared=prepared,
        estimate=prepared.estimate(),
        thousandths=utilisation.thousandths_of(pinned),
        sure=False,
        demanded_blocks=demanded_blocks(prepared, engine_request.traffic),
    )
    pools = tuple(pool for one in candidate.products for pool in one.large_enough_for(layout))
    needs = pod_needs(request, engine, found.estimate, product.gpu, layout.gpus_per_node)
    life = life_of(request, engine, found.estimate, product.gpu, layout.nodes)
    return Found(candidate=candidate, product=product, fit=found, pools=pools, losses=(), needs=needs, life=life)
