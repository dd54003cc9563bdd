"""`plimsoll plan`: what would be decided about InferenceDeployments, before they are applied.

Gathers from files or a cluster, calls the one `decide`, prints. `-o json` is the plan's canonical form, byte for byte what
the controller records. Decides nothing itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import yaml

from plimsoll_estimator import format_gib
from plimsoll_operator.api import ApiError, InferenceDeployment
from plimsoll_operator.cli import SubParsers, add_command
from plimsoll_operator.cli.inputs import World, add_source_arguments, describe, load
from plimsoll_operator.decision import decide
from plimsoll_operator.decision.refusal.override import PIN_FIRST, is_lifted
from plimsoll_operator.facts import Facts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.verdict import Admit, Plan, Reason, Reject, Resize, Undecided, Verdict

ADMITTED: Final = 0
REJECTED: Final = 1
BAD_INPUT: Final = 2
UNDECIDED: Final = 3
_SEVERITY: Final = (ADMITTED, UNDECIDED, REJECTED, BAD_INPUT)
_DESCRIPTION: Final = "Decide about InferenceDeployments. Status 0: admitted or resized, 1: rejected, 3: undecided, 2: bad input."


def register(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(subparsers, "plan", run, _DESCRIPTION)
    add_wish_arguments(parser)
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="json prints the plan's canonical form")


def run(options: argparse.Namespace) -> int:
    """Decide about every InferenceDeployment of the files; the worst status wins."""
    world = wishes(options)
    if world is None:
        return BAD_INPUT
    statuses = [ADMITTED]
    for deployment in world.deployments:
        facts = _facts(world, deployment, fresh=options.fresh)
        verdict = decide(facts)
        statuses.append(status_of(verdict))
        if statuses[-1] == BAD_INPUT:
            print(f"{deployment.metadata.name}: {verdict_mapping(verdict)['message']}", file=sys.stderr)
        else:
            print(_shown(deployment, verdict, options.output))
            if options.output == "table" and isinstance(verdict, Reject) and is_lifted(verdict, facts):
                print(f"  stored all the same, as a warning. {PIN_FIRST}")
    return worst(statuses)


def add_wish_arguments(parser: argparse.ArgumentParser) -> None:
    """What is to be decided about, and where the cluster's side of the facts comes from."""
    parser.add_argument("-f", "--filename", metavar="FILE", action="append", type=Path, required=True, help="manifests; - reads stdin")
    add_source_arguments(parser)
    parser.add_argument("--fresh", action="store_true", help="ignore the plan that is applied")


def wishes(options: argparse.Namespace) -> World | None:
    """All that was read; None, with a line on stderr, where an object is refused or there is nothing to decide about."""
    try:
        world = load(options, options.filename)
    except ApiError as error:
        print(describe(error), file=sys.stderr)
        return None
    if not world.deployments:
        print(f"plimsoll {options.command}: no InferenceDeployment in the files", file=sys.stderr)
        return None
    return world


def worst(statuses: list[int]) -> int:
    """The status that stands for several: bad input, then rejected, then undecided."""
    return max(statuses, key=_SEVERITY.index)


def judge(world: World, deployment: InferenceDeployment, *, fresh: bool) -> Verdict:
    """The verdict, with the applied plan unless it is to be ignored."""
    return decide(_facts(world, deployment, fresh=fresh))


def _facts(world: World, deployment: InferenceDeployment, *, fresh: bool) -> Facts:
    key = (deployment.metadata.namespace or "default", deployment.metadata.name)
    return facts_for(deployment, world, applied_plan=None if fresh else world.plans.get(key))


def status_of(verdict: Verdict) -> int:
    """The exit status that stands for the verdict."""
    if isinstance(verdict, Reject):
        return BAD_INPUT if verdict.reason == Reason.INVALID_SPEC else REJECTED
    return UNDECIDED if isinstance(verdict, Undecided) else ADMITTED


def verdict_mapping(verdict: Verdict) -> dict[str, Any]:
    """The verdict for machines that want more than the plan."""
    data: dict[str, Any] = {"verdict": type(verdict).__name__}
    if isinstance(verdict, Admit | Resize):
        data |= {"plan": json.loads(verdict.plan.canonical_json()), "warnings": list(verdict.warnings), "on_the_edge": verdict.on_the_edge}
        if verdict.overridden is not None:
            data["overridden"] = verdict.overridden.reason.value
        if isinstance(verdict, Resize):
            data["changes"] = [asdict(change) for change in verdict.changes]
    elif isinstance(verdict, Reject):
        data |= {"reason": verdict.reason.value, "message": verdict.message, "field": verdict.field, "details": list(verdict.details)}
        data |= {"needed_bytes": verdict.needed_bytes, "available_bytes": verdict.available_bytes, "short_by_bytes": verdict.short_by_bytes}
        data |= {"component": verdict.component, "on_the_edge": verdict.on_the_edge}
        data["offers"] = [{"summary": offer.summary, "patch": json.loads(offer.patch_json)} for offer in verdict.offers]
    else:
        data |= {"reason": verdict.reason.value, "message": verdict.message, "next_step": verdict.next_step}
    return data


def _shown(deployment: InferenceDeployment, verdict: Verdict, output: str) -> str:
    if output == "json":
        if isinstance(verdict, Admit | Resize):
            return verdict.plan.canonical_json()
        return json.dumps(verdict_mapping(verdict), sort_keys=True, separators=(",", ":"))
    if output == "yaml":
        named = {"name": deployment.metadata.name} | verdict_mapping(verdict)
        text: str = yaml.safe_dump(named, sort_keys=False, explicit_start=True)
        return text.rstrip("\n")
    return "\n".join(_table(deployment.metadata.name, verdict))


def _table(name: str, verdict: Verdict) -> list[str]:
    if isinstance(verdict, Undecided):
        return [f"{name}: Undecided ({verdict.reason})", f"  {verdict.message}", f"  {verdict.next_step}"]
    if isinstance(verdict, Reject):
        lines = [f"{name}: Reject ({verdict.reason}, {verdict.field}){_edge(verdict)}", f"  {verdict.message}"]
        lines += [f"  {detail}" for detail in verdict.details]
        for offer in verdict.offers:
            lines += [f"  would be admitted: {offer.summary}", f"    {offer.patch_json}"]
        return lines
    word = f" against {verdict.overridden.reason}" if verdict.overridden is not None else ""
    lines = [f"{name}: {type(verdict).__name__}{word}{_edge(verdict)}", *(f"  {line}" for line in _plan_lines(verdict.plan))]
    if isinstance(verdict, Resize):
        lines += [f"  moved: {change.field} from {change.old} to {change.new}" for change in verdict.changes]
        lines += [f"    because {why}" for why in dict.fromkeys(change.why for change in verdict.changes)]
    return lines + [f"  warning: {line}" for line in verdict.warnings]


def _edge(verdict: Admit | Resize | Reject) -> str:
    return ", on the edge" if verdict.on_the_edge else ""


def _plan_lines(plan: Plan) -> list[str]:
    parallel = f"tensor {plan.tensor_parallel_size}, pipeline {plan.pipeline_parallel_size}, data {plan.data_parallel_size}"
    if plan.decode_context_parallel_size > 1:
        parallel += f", decode context {plan.decode_context_parallel_size}"
    parallel += ", expert parallel" if plan.enable_expert_parallel else ""
    placed = f"{plan.gpus_per_replica} x {' or '.join(plan.gpu_products)} per replica"
    placed += f" on {plan.nodes_per_replica} nodes" if plan.nodes_per_replica > 1 else ""
    budget = f"{format_gib(plan.allocated_bytes)} of {format_gib(plan.gpu_total_bytes)}"
    rows: Mapping[str, str] = {
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
        "KV cache needed": f"{format_gib(plan.kv_cache_needed_bytes)}{_needed_by(plan)}",
        "ephemeral storage": f"{format_gib(plan.ephemeral_storage_bytes)} a pod",
        "pools": ", ".join(plan.pools),
    }
    return [f"{label:<23} {value}" for label, value in rows.items()]


def _needed_by(plan: Plan) -> str:
    tokens = f", {plan.kv_cache_needed_tokens} tokens" if plan.kv_cache_needed_tokens else ""
    if not plan.replicas_needed:
        return f"{tokens} for one full request"
    return f"{tokens} for the workload, which needs {plan.replicas_needed} replica{'s' * (plan.replicas_needed > 1)} of this plan"
