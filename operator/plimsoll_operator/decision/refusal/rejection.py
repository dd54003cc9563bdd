"""From misses to the refusal that speaks of them: its reason, field and figures, and what stays undecided for want of a rule.

Called by `steps`. Knows fields and sentences, searches nothing.
"""

from __future__ import annotations

from typing import Final

from plimsoll_operator.decision.fit.host import DOWNLOAD_VOLUME
from plimsoll_operator.decision.fit.miss import Miss
from plimsoll_operator.decision.refusal import wording
from plimsoll_operator.decision.request.fields import FIELD_OF
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.search.candidate import Found, Missed
from plimsoll_operator.decision.search.search import best_miss, preference
from plimsoll_operator.verdict import Reason, Reject, Undecided

_MOST_CAUSES: Final = 4
_DOUBTS: Final = (Reason.UNSUPPORTED_MODEL, Reason.UNKNOWN_ENGINE, Reason.KERNELS_NOT_KNOWN)


def rejection(request: DeploymentRequest, misses: tuple[Missed, ...]) -> Reject:
    """The refusal that speaks of the miss which is worth most to whoever reads it."""
    worst = best_miss(misses)
    miss = worst.miss
    return Reject(
        reason=miss.reason,
        message=wording.rejection(request, worst),
        field=_field(request, miss),
        needed_bytes=miss.needed_bytes,
        available_bytes=miss.available_bytes,
        component=miss.component,
        details=(
            *wording.budget_note(miss),
            *wording.edge_note(miss),
            *_cap_note(request, miss),
            *wording.storage_note(request, miss),
            *_other_causes(worst, misses),
        ),
        on_the_edge=miss.edge_bytes is not None,
    )


def _other_causes(worst: Missed, misses: tuple[Missed, ...]) -> tuple[str, ...]:
    """What keeps the other products and pools out, where it is something else: who can cure that need not cure this."""
    causes: dict[tuple[str, Reason], str] = {}
    by_product = {missed.candidate.name: missed for missed in misses}
    nearest = [best_miss(tuple(one for one in misses if one.candidate.name == name)) for name in by_product]
    for missed in sorted(nearest, key=preference):
        for miss in (missed.miss, *missed.others):
            causes.setdefault((missed.candidate.name, miss.reason), wording.cause(missed.candidate, miss))
    told = (worst.candidate.name, worst.miss.reason)
    others = [(reason, line) for (name, reason), line in causes.items() if (name, reason) != told]
    if all(reason == worst.miss.reason for reason, _ in others):
        return ()
    return tuple(line for _, line in others[:_MOST_CAUSES])


def leader_worker_set_missing(request: DeploymentRequest, found: Found) -> Reject:
    """Where only the API is missing that makes replicas over the nodes that placement allows, `found` is what would run there."""
    message = wording.leader_worker_set_missing(request, found)
    return Reject(reason=Reason.LEADER_WORKER_SET_MISSING, message=message, field="spec.placement.maxNodesPerReplica")


def doubt(misses: tuple[Missed, ...]) -> Undecided | None:
    """Where nothing fits and for some candidate there is no rule, nothing can be said: that one might have fitted."""
    found = next((missed.miss for missed in misses if missed.miss.reason in _DOUBTS), None)
    return None if found is None else undecided(found.reason, found.message, found.about)


def undecided(reason: Reason, message: str, about: str | None = None) -> Undecided:
    """What is not known, said in one sentence; `about`: the argument that has no rule."""
    next_step = "No pods are made; nothing is assumed about what is not known."
    return Undecided(reason=reason, message=f"{message}.", next_step=next_step, field=None if about is None else FIELD_OF[about])


def _cap_note(request: DeploymentRequest, miss: Miss) -> tuple[str, ...]:
    """Where memory is short and the policy keeps a replica from having more GPUs, who wonders about it is told."""
    cap = request.max_gpus_per_replica
    if cap is None or miss.reason not in (Reason.INSUFFICIENT_GPU_MEMORY, Reason.INSUFFICIENT_KV_CACHE):
        return ()
    return (f"The FitPolicy allows a replica at most {cap} GPU{'s' * (cap != 1)}.",)


def _field(request: DeploymentRequest, miss: Miss) -> str:
    reason = miss.reason
    if reason == Reason.INSUFFICIENT_KV_CACHE or miss.about == "max_model_len":
        return _field_of_context(request)
    if miss.about is not None:
        return FIELD_OF[miss.about]
    if miss.component == DOWNLOAD_VOLUME:
        return "spec.template.volumes"
    if reason == Reason.EPHEMERAL_STORAGE:
        return "spec.model.source" if request.disk.takes_downloads else "spec.template.volumes"
    if reason in (Reason.HOST_MEMORY, Reason.HOST_CPU):
        return "spec.placement"
    return "spec.engine.tensorParallelSize" if request.args.tensor_parallel_size is not None else "spec.engine"


def _field_of_context(request: DeploymentRequest) -> str:
    """What says how long a context must be served: the pinned one, else the requests of the worksheet, else the least that serves."""
    if request.args.max_model_len is not None:
        return FIELD_OF["max_model_len"]
    return "spec.workload" if request.worksheet is not None else "spec.fit.minMaxModelLen"
