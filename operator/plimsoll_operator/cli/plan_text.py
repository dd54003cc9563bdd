"""Verdicts as `plimsoll plan` prints them: for people as lines, for machines as a mapping. Decides nothing and reads no file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from plimsoll_estimator import format_gib
from plimsoll_operator.cli.bars import bar_rows
from plimsoll_operator.cli.screen import Screen
from plimsoll_operator.upgrade import Judged
from plimsoll_operator.verdict import Admit, Plan, Reason, Reject, Resize, Undecided, Verdict

_PIPE: Final = Screen()
FORM: Final = "plimsoll.plan/v1"
"""Of what `plan -o json` and `-o yaml` print: keys may be added, none changes its meaning or goes while it stays. docs/plan.schema.json."""


def verdict_mapping(verdict: Verdict) -> dict[str, Any]:
    """The verdict for machines: the same keys whichever it is, those of the other verdicts null or empty."""
    fits = verdict if isinstance(verdict, Admit | Resize) else None
    reject = verdict if isinstance(verdict, Reject) else None
    refusal = verdict if isinstance(verdict, Reject | Undecided) else None
    overridden = fits.overridden if fits is not None else None
    changes = verdict.changes if isinstance(verdict, Resize) else ()
    offers = reject.offers if reject is not None else ()
    return {
        "verdict": type(verdict).__name__,
        "reason": str(refusal.reason if refusal is not None else Reason.RESIZED if changes else Reason.FITS),
        "message": refusal.message if refusal is not None else "",
        "next_step": verdict.next_step if isinstance(verdict, Undecided) else "",
        "field": refusal.field if refusal is not None else None,
        "plan": json.loads(fits.plan.canonical_json()) if fits is not None else None,
        "warnings": list(fits.warnings) if fits is not None else [],
        "changes": [asdict(change) for change in changes],
        "overridden": str(overridden.reason) if overridden is not None else None,
        "on_the_edge": not isinstance(verdict, Undecided) and verdict.on_the_edge,
        "details": list(reject.details) if reject is not None else [],
        "needed_bytes": reject.needed_bytes if reject is not None else None,
        "available_bytes": reject.available_bytes if reject is not None else None,
        "short_by_bytes": reject.short_by_bytes if reject is not None else None,
        "component": reject.component if reject is not None else None,
        "offers": [{"summary": offer.summary, "patch": json.loads(offer.patch_json)} for offer in offers],
    }


def answer_mapping(name: str, namespace: str, judged: Judged) -> dict[str, Any]:
    """What `plan -o json` and `-o yaml` print of one InferenceDeployment."""
    return {"form": FORM, "name": name, "namespace": namespace} | judged_mapping(judged)


def judged_mapping(judged: Judged) -> dict[str, Any]:
    """The same for a release that the manifest does not have: with what it must change."""
    data: dict[str, Any] = {"engine_version": str(judged.version)} | verdict_mapping(judged.verdict)
    if judged.edits or judged.note:
        data |= {"manifest": [asdict(edit) for edit in judged.edits], "patch": json.loads(judged.patch_json), "note": judged.note}
    return data


def verdict_lines(name: str, verdict: Verdict, screen: Screen = _PIPE) -> list[str]:
    """The verdict, what speaks for and against it, and what would do instead; on a terminal with a bar of one GPU's memory."""
    if isinstance(verdict, Undecided):
        return [f"{name}: Undecided ({verdict.reason})", f"  {verdict.message}", f"  {verdict.next_step}"]
    if isinstance(verdict, Reject):
        lines = [f"{name}: Reject ({verdict.reason}, {verdict.field}){_edge(verdict)}", f"  {verdict.message}"]
        lines += [f"  {detail}" for detail in verdict.details]
        for offer in verdict.offers:
            lines += [f"  would be admitted: {offer.summary}", f"    {offer.patch_json}"]
        return lines
    word = f" against {verdict.overridden.reason}" if verdict.overridden is not None else ""
    lines = [
        f"{name}: {type(verdict).__name__}{word}{_edge(verdict)}",
        *(f"  {label:<23} {value}" for label, value in (*plan_rows(verdict.plan).items(), *_bar(verdict.plan, screen))),
    ]
    if isinstance(verdict, Resize):
        lines += [f"  moved: {change.field} from {change.old} to {change.new}" for change in verdict.changes]
        lines += [f"    because {why}" for why in dict.fromkeys(change.why for change in verdict.changes)]
    return lines + [f"  warning: {line}" for line in verdict.warnings]


def _bar(plan: Plan, screen: Screen) -> tuple[tuple[str, str], ...]:
    weights, cache = plan.predicted.weights_bytes, plan.predicted.kv_cache_bytes
    return bar_rows((weights, plan.predicted.total_bytes - weights - cache, cache), plan.gpu_total_bytes, screen)


def _edge(verdict: Admit | Resize | Reject) -> str:
    return ", on the edge" if verdict.on_the_edge else ""


def plan_rows(plan: Plan) -> Mapping[str, str]:
    """A plan for people: labels and what they have."""
    parallel = f"tensor {plan.tensor_parallel_size}, pipeline {plan.pipeline_parallel_size}, data {plan.data_parallel_size}"
    if plan.decode_context_parallel_size > 1:
        parallel += f", decode context {plan.decode_context_parallel_size}"
    parallel += ", expert parallel" if plan.enable_expert_parallel else ""
    placed = f"{plan.gpus_per_replica} x {' or '.join(plan.gpu_products)} per replica"
    placed += f" on {plan.nodes_per_replica} nodes" if plan.nodes_per_replica > 1 else ""
    budget = f"{format_gib(plan.allocated_bytes)} of {format_gib(plan.gpu_total_bytes)}"
    return {
        "model": plan.model,
        "engine": f"vLLM {plan.engine_version}{' (extrapolated)' if plan.extrapolated else ''}",
        "GPUs": f"{placed}, {'' if plan.available_now else 'not '}free now",
        "parallel sizes": parallel,
        "gpu-memory-utilization": f"{plan.gpu_memory_utilization} = {budget}",
        "max-model-len": str(plan.max_model_len),
        "max-num-seqs": f"{plan.max_num_seqs}, max-num-batched-tokens {plan.max_num_batched_tokens}",
        "weights": format_gib(plan.predicted.weights_bytes),
        "activation": format_gib(plan.predicted.activation_bytes),
        "CUDA graphs": format_gib(plan.predicted.cuda_graph_bytes),
        "non-torch": format_gib(plan.predicted.non_torch_bytes),
        "KV cache": f"{format_gib(plan.predicted.kv_cache_bytes)}, {plan.kv_cache_tokens} tokens, {plan.max_concurrency} full requests",
        **_calibrated(plan),
        "KV cache needed": f"{format_gib(plan.kv_cache_needed_bytes)}{_needed_by(plan)}",
        "ephemeral storage": f"{format_gib(plan.ephemeral_storage_bytes)} a pod",
        "pools": ", ".join(plan.pools),
    }


def _calibrated(plan: Plan) -> dict[str, str]:
    """What measured starts have moved, where they have."""
    if not plan.calibrated_bytes:
        return {}
    direction = "more" if plan.calibrated_bytes > 0 else "less"
    return {"calibration": f"{format_gib(abs(plan.calibrated_bytes))} {direction} beside the KV cache, by EngineCalibrations"}


def _needed_by(plan: Plan) -> str:
    tokens = f", {plan.kv_cache_needed_tokens} tokens" if plan.kv_cache_needed_tokens else ""
    if not plan.replicas_needed:
        return f"{tokens} for one full request"
    return f"{tokens} for the workload, which needs {plan.replicas_needed} replica{'s' * (plan.replicas_needed > 1)} of this plan"


def manifest_lines(judged: Judged) -> list[str]:
    """What the manifest must change for a release that it does not have; nothing for its own."""
    lines = [f"in the manifest: {edit.field} from {edit.old} to {edit.new}" for edit in judged.edits]
    lines += [f"  {judged.patch_json}"] if judged.edits else []
    return lines + ([f"in the manifest: {judged.note}"] if judged.note else [])
