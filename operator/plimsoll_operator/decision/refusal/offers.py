"""The way out of a rejection: up to four smallest changes that would be admitted, as patches, each verified by deciding it.

Called by `steps` after a Reject. Takes the changes that `changes` finds, applies each patch and decides again; what is not
admitted is not offered. Knows sentences and patches, no search.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

from plimsoll_operator.api import MAX_OFFERS, ApiError, InferenceDeployment, parse_inference_deployment
from plimsoll_operator.decision.refusal.changes import Patch, Refused, SpecChange, apply_patch, changes_of
from plimsoll_operator.facts import Facts
from plimsoll_operator.verdict import Admit, Offer, Plan, Verdict


def offers(refused: Refused, judge: Callable[[Facts], Verdict]) -> Iterator[Offer]:
    """Verified offers in the order of `changes`, the least intrusive first; each is searched for when it is asked for."""
    found = 0
    seen: set[str] = set()
    for change in changes_of(refused):
        text = json.dumps(change.patch, sort_keys=True, separators=(",", ":"))
        if text in seen:
            continue
        seen.add(text)
        admit = _admitted(refused.facts, change, judge)
        if admit is not None:
            summary = _summary(change.patch, admit.plan)
            yield Offer(summary=f"{summary} {admit.of_now}" if admit.of_now else summary, patch_json=text)
            found += 1
            if found == MAX_OFFERS:
                return


def patched(deployment: InferenceDeployment, patch: Patch) -> InferenceDeployment | None:
    """The deployment with the patch applied, None where the API would refuse it."""
    manifest = deployment.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True, exclude={"status"})
    manifest |= {"apiVersion": deployment.api_version, "kind": deployment.kind}
    try:
        return parse_inference_deployment(apply_patch(manifest, patch))
    except ApiError:
        return None


def _admitted(facts: Facts, change: SpecChange, judge: Callable[[Facts], Verdict]) -> Admit | None:
    deployment = patched(facts.deployment, change.patch)
    if deployment is None:
        return None
    verdict = judge(replace(facts, deployment=deployment, model=change.model or facts.model))
    return verdict if isinstance(verdict, Admit) and verdict.overridden is None else None


def _summary(patch: Patch, plan: Plan) -> str:
    spec = patch["spec"]
    said = [f"engine.{field} {value}" if value is not None else f"no engine.{field}" for field, value in spec.get("engine", {}).items()]
    if "model" in spec:
        said.insert(0, f"model.name {spec['model']['name']}")
    if "replicas" in spec:
        said.append(f"replicas {spec['replicas']}")
    placement = spec.get("placement", {})
    if "gpuProducts" in placement:
        said.append(f"placement.gpuProducts {', '.join(placement['gpuProducts'])}")
    if "nodeSelector" in placement:
        said.append("no placement.nodeSelector")
    if "maxNodesPerReplica" in placement:
        said.append(f"placement.maxNodesPerReplica {placement['maxNodesPerReplica']}")
    gpus = plan.gpus_per_replica
    placed = f"{gpus} x {plan.product} per replica" + (f" on {plan.nodes_per_replica} nodes" if plan.nodes_per_replica > 1 else "")
    return f"With {' and '.join(said)}: {placed}, context {plan.max_model_len}, KV cache {plan.kv_cache_tokens} tokens."
