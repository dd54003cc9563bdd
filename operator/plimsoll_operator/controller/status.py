"""An InferenceDeployment's status from what was decided and what the child reports. Pure; time is handed in.

Called by the reconciler before its one status write. Numbers are copied from plans, never computed.
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.units import format_gib
from plimsoll_operator import conditions
from plimsoll_operator.api import (
    ChangeStatus,
    Condition,
    InferenceDeploymentStatus,
    MemoryByComponent,
    OfferStatus,
    PlanStatus,
)
from plimsoll_operator.api.base import MAX_BYTES
from plimsoll_operator.conditions import INTERNAL_ERROR, ChildState, Invalid, Situation
from plimsoll_operator.controller.refusals import pods_refused
from plimsoll_operator.ports import LEADER_WORKER_SETS, Manifest
from plimsoll_operator.verdict import Plan, PredictedMemory, Reject, Resize, Verdict

MAX_OFFERS: Final = 4
_MAX_TEXT: Final = 4096


def status_of(
    situation: Situation, *, plan: Plan | None, proposed: Plan | None, selector: str, previous: InferenceDeploymentStatus | None, now: str
) -> Manifest:
    """The whole status as JSON. Deterministic but for `now`, which only a changed condition shows."""
    child = situation.child
    before = tuple(_read(row) for row in previous.conditions) if previous is not None else ()
    judged = conditions.conditions_of(situation, before, now)
    status = InferenceDeploymentStatus(
        observed_generation=situation.generation,
        replicas=child.replicas if child is not None else 0,
        ready_replicas=child.ready if child is not None else 0,
        ready=f"{child.ready if child is not None else 0}/{situation.replicas + situation.beyond}",
        selector=selector,
        conditions=tuple(_write(row) for row in judged),
        plan=plan_status(plan) if plan is not None else None,
        proposed_plan=plan_status(proposed) if proposed is not None else None,
        changes=_changes(situation, plan, previous),
        offers=_offers(situation.verdict),
        observed=previous.observed if previous is not None else None,
    )
    out: Manifest = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {key: value for key, value in out.items() if value != []}


def with_bug(raw: Manifest, message: str, now: str) -> Manifest:
    """The status as it is, but not ready and stalled by an error of the controller itself. Knows only what every status has."""
    generation, status = int(raw["metadata"].get("generation") or 0), raw.get("status") or {}
    before = {row.get("type"): row for row in status.get("conditions") or ()}
    for kind, value in (("Ready", "False"), ("Stalled", "True")):
        since = before[kind].get("lastTransitionTime") if kind in before and before[kind].get("status") == value else now
        row = {"type": kind, "status": value, "reason": INTERNAL_ERROR, "message": message, "observedGeneration": generation}
        before[kind] = row | {"lastTransitionTime": since}
    return {**status, "conditions": list(before.values())}


def child_state(child: Manifest | None) -> ChildState | None:
    """What a Deployment or LeaderWorkerSet says of itself. Of the latter a ready group is available: it knows no other availability."""
    if child is None:
        return None
    status = child.get("status") or {}
    metadata = child["metadata"]
    rows = {row.get("type"): row for row in status.get("conditions") or ()}
    spans = child.get("kind") == LEADER_WORKER_SETS.kind
    return ChildState(
        current=int(status.get("observedGeneration") or 0) >= int(metadata.get("generation") or 0),
        wanted=int((child.get("spec") or {}).get("replicas") or 0),
        replicas=int(status.get("replicas") or 0),
        updated=int(status.get("updatedReplicas") or 0),
        ready=int(status.get("readyReplicas") or 0),
        available=int(status.get("readyReplicas" if spans else "availableReplicas") or 0),
        deadline_exceeded=(rows.get("Progressing") or {}).get("reason") == "ProgressDeadlineExceeded",
        pods_refused=pods_refused(child),
        made_by="StatefulSets of the LeaderWorkerSet" if spans else "ReplicaSets of the Deployment",
    )


def plan_status(plan: Plan) -> PlanStatus:
    """A plan as the API shows it."""
    memory = plan.predicted
    total = memory.weights_bytes + memory.activation_bytes + memory.cuda_graph_bytes + memory.non_torch_bytes + memory.kv_cache_bytes
    return PlanStatus(
        product=plan.product,
        gpu_products=plan.gpu_products,
        pools=plan.pools,
        model=plan.model,
        model_revision=plan.model_revision,
        engine_version=plan.engine_version,
        extrapolated=plan.extrapolated,
        tensor_parallel_size=plan.tensor_parallel_size,
        pipeline_parallel_size=plan.pipeline_parallel_size,
        data_parallel_size=plan.data_parallel_size,
        expert_parallel=plan.enable_expert_parallel,
        decode_context_parallel_size=plan.decode_context_parallel_size,
        nodes_per_replica=plan.nodes_per_replica,
        may_surge=plan.may_surge,
        gpus_per_replica=plan.gpus_per_replica,
        gpu_resource=plan.gpu_resource,
        sharing=plan.sharing,
        gpu_memory_utilization=plan.gpu_memory_utilization,
        max_model_len=plan.max_model_len,
        max_num_seqs=plan.max_num_seqs,
        max_num_batched_tokens=plan.max_num_batched_tokens,
        dtype=plan.dtype,
        quantization=plan.quantization,
        kv_cache_dtype=plan.kv_cache_dtype,
        kv_cache_tokens=plan.kv_cache_tokens,
        max_concurrency=plan.max_concurrency,
        gpu_total_bytes=plan.gpu_total_bytes,
        allocated_bytes=plan.allocated_bytes,
        kv_cache_needed_bytes=plan.kv_cache_needed_bytes,
        kv_cache_needed_tokens=plan.kv_cache_needed_tokens,
        replicas_needed=plan.replicas_needed or None,
        kv_cache_interval_bytes=plan.kv_cache_interval_bytes,
        host_memory_bytes=plan.host_memory_bytes,
        template_memory_bytes=plan.template_memory_bytes or None,
        template_cpu_millis=plan.template_cpu_millis or None,
        ephemeral_storage_bytes=plan.ephemeral_storage_bytes or None,
        predicted=MemoryByComponent(
            weights_bytes=memory.weights_bytes,
            activation_bytes=memory.activation_bytes,
            cuda_graph_bytes=memory.cuda_graph_bytes,
            non_torch_bytes=memory.non_torch_bytes,
            kv_cache_bytes=memory.kv_cache_bytes,
            total_bytes=min(total, MAX_BYTES),
            total=format_gib(total),
        ),
        node_selectors=tuple(dict(pairs) for pairs in plan.node_selectors),
        available_now=plan.available_now,
        digest=plan.digest,
    )


def plan_from_status(status: PlanStatus) -> Plan | None:
    """Inverse of plan_status, for a child that somebody deleted; None when a figure is missing or the digest disagrees."""
    memory = status.predicted
    interval = status.kv_cache_interval_bytes
    if status.model is None or status.dtype is None or status.kv_cache_dtype is None or len(interval) != 2:
        return None
    plan = Plan(
        product=status.product,
        gpu_products=status.gpu_products,
        pools=status.pools,
        engine_version=status.engine_version,
        extrapolated=status.extrapolated,
        model=status.model,
        model_revision=status.model_revision,
        tensor_parallel_size=status.tensor_parallel_size,
        pipeline_parallel_size=status.pipeline_parallel_size,
        data_parallel_size=status.data_parallel_size,
        enable_expert_parallel=status.expert_parallel,
        decode_context_parallel_size=status.decode_context_parallel_size,
        nodes_per_replica=status.nodes_per_replica,
        may_surge=status.may_surge,
        gpu_memory_utilization=status.gpu_memory_utilization,
        max_model_len=status.max_model_len,
        max_num_seqs=status.max_num_seqs,
        max_num_batched_tokens=status.max_num_batched_tokens,
        dtype=status.dtype,
        quantization=status.quantization,
        kv_cache_dtype=status.kv_cache_dtype,
        gpus_per_replica=_figure(status.gpus_per_replica),
        kv_cache_tokens=status.kv_cache_tokens,
        max_concurrency=status.max_concurrency,
        gpu_total_bytes=_figure(status.gpu_total_bytes),
        allocated_bytes=_figure(status.allocated_bytes),
        predicted=PredictedMemory(
            weights_bytes=_figure(memory.weights_bytes),
            activation_bytes=_figure(memory.activation_bytes),
            cuda_graph_bytes=_figure(memory.cuda_graph_bytes),
            non_torch_bytes=_figure(memory.non_torch_bytes),
            kv_cache_bytes=_figure(memory.kv_cache_bytes),
        ),
        kv_cache_interval_bytes=(interval[0], interval[1]),
        kv_cache_needed_bytes=_figure(status.kv_cache_needed_bytes),
        kv_cache_needed_tokens=status.kv_cache_needed_tokens or 0,
        replicas_needed=status.replicas_needed or 0,
        host_memory_bytes=_figure(status.host_memory_bytes),
        template_memory_bytes=status.template_memory_bytes or 0,
        template_cpu_millis=status.template_cpu_millis or 0,
        ephemeral_storage_bytes=status.ephemeral_storage_bytes or 0,
        available_now=bool(status.available_now),
        gpu_resource=status.gpu_resource or "nvidia.com/gpu",
        sharing=status.sharing or "none",
        node_selectors=tuple(tuple(sorted(pairs.items())) for pairs in status.node_selectors),
    )
    return plan if plan.digest == status.digest else None


def _figure(value: int | None) -> int:
    """A figure of the status; one that is missing becomes what no plan has, so that the digest disagrees."""
    return -1 if value is None else value


def _changes(situation: Situation, plan: Plan | None, previous: InferenceDeploymentStatus | None) -> tuple[ChangeStatus, ...]:
    """What was moved for the plan in force. A later look may move nothing, or something else: that is about the proposed plan."""
    verdict = situation.verdict
    known = previous.plan if previous is not None else None
    if previous is not None and plan is not None and known is not None and known.digest == plan.digest and not situation.adopting:
        return previous.changes
    if not isinstance(verdict, Resize) or (plan is not None and verdict.plan.digest != plan.digest):
        return ()
    return tuple(
        ChangeStatus(field=row.field[:256], old=row.old[:256], new=row.new[:256], why=row.why[:_MAX_TEXT]) for row in verdict.changes
    )


def _offers(verdict: Verdict | Invalid) -> tuple[OfferStatus, ...]:
    if not isinstance(verdict, Reject):
        return ()
    short = [offer for offer in verdict.offers if len(offer.patch_json) <= _MAX_TEXT]
    return tuple(OfferStatus(summary=offer.summary[:_MAX_TEXT], patch=offer.patch_json) for offer in short[:MAX_OFFERS])


def _read(row: Condition) -> conditions.Condition:
    return conditions.Condition(
        type=row.type,
        status=row.status,
        reason=row.reason,
        message=row.message,
        observed_generation=row.observed_generation or 0,
        last_transition_time=row.last_transition_time,
    )


def _write(row: conditions.Condition) -> Condition:
    return Condition(
        type=row.type,
        status=row.status,
        reason=row.reason,
        message=row.message,
        observed_generation=row.observed_generation,
        last_transition_time=row.last_transition_time,
    )
