"""The way out of a rejection: up to four smallest changes that would be admitted, as patches, each verified by deciding it.

Called by `decide` after a Reject. Finds a change by searching with one wish loosened, writes it as a JSON merge patch on the
InferenceDeployment, applies the patch and decides again; what is not admitted is not offered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from plimsoll_estimator.units import ceil_div
from plimsoll_operator.api import ApiError, InferenceDeployment, parse_inference_deployment
from plimsoll_operator.decision.ask import Ask
from plimsoll_operator.decision.fit import Miss
from plimsoll_operator.decision.placement import match
from plimsoll_operator.decision.resize import FP8, Mover, pinned
from plimsoll_operator.decision.search import Found, best_miss, products_of
from plimsoll_operator.decision.serving import least_values
from plimsoll_operator.decision.worksheet import least_replicas
from plimsoll_operator.facts import Facts
from plimsoll_operator.verdict import Admit, Offer, Plan, Verdict

MAX_OFFERS: Final = 4
_LEAST_CONTEXT: Final = 1024
_MAX_REPLICAS: Final = 10000  # the API's limit
Patch = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the offers are made from: the refused facts, what was read of them, and the moves on pools as placed and on all."""

    facts: Facts
    ask: Ask
    here: Mover
    everywhere: Mover


def scene(facts: Facts, ask: Ask, make_mover: Callable[[Any], Mover]) -> Scene:
    """Prepare the moves; `make_mover` makes one for a set of products."""
    open_placement = ask.placement.model_copy(update={"gpu_products": (), "node_selector": {}})
    here, _ = products_of(match(ask.placement, facts.pools).pools)
    everywhere, _ = products_of(match(open_placement, facts.pools).pools)
    return Scene(facts=facts, ask=ask, here=make_mover(here), everywhere=make_mover(everywhere))


def offers(scene_: Scene, judge: Callable[[Facts], Verdict]) -> tuple[Offer, ...]:
    """Verified offers, the least intrusive first: parallel size, pool, context, KV cache type, then two at once."""
    found: list[Offer] = []
    seen: set[str] = set()
    for patch in _patches(scene_):
        text = json.dumps(patch, sort_keys=True, separators=(",", ":"))
        if text in seen:
            continue
        seen.add(text)
        plan = _admitted(scene_.facts, patch, judge)
        if plan is not None:
            found.append(Offer(summary=_summary(patch, plan), patch_json=text))
            if len(found) == MAX_OFFERS:
                break
    return tuple(found)


def apply_patch(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_patch(result.get(key), value)
    return result


def patched(deployment: InferenceDeployment, patch: Patch) -> InferenceDeployment | None:
    """The deployment with the patch applied, None where the API would refuse it."""
    manifest = deployment.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True, exclude={"status"})
    manifest |= {"apiVersion": deployment.api_version, "kind": deployment.kind}
    try:
        return parse_inference_deployment(apply_patch(manifest, patch))
    except ApiError:
        return None


def _admitted(facts: Facts, patch: Patch, judge: Callable[[Facts], Verdict]) -> Plan | None:
    deployment = patched(facts.deployment, patch)
    if deployment is None:
        return None
    verdict = judge(replace(facts, deployment=deployment))
    return verdict.plan if isinstance(verdict, Admit) and verdict.overridden is None else None


def _patches(s: Scene) -> Iterator[Patch]:
    ask = s.ask
    yield from _raised(ask)
    free = ask.with_args(tensor_parallel_size=None)
    other_size = _found(s.here, free) if ask.args.tensor_parallel_size is not None else None
    if other_size is not None:
        yield _engine(tensorParallelSize=other_size.candidate.layout.tensor_parallel_size)
    if ask.placement.gpu_products or ask.placement.node_selector:
        anywhere = replace(ask, placement=ask.placement.model_copy(update={"gpu_products": (), "node_selector": {}}))
        if plan := _found(s.everywhere, anywhere):
            yield _elsewhere(ask, plan)
        elif plan := _found(s.everywhere, anywhere.with_args(tensor_parallel_size=None)):
            yield apply_patch(_elsewhere(ask, plan), _engine(tensorParallelSize=plan.candidate.layout.tensor_parallel_size))
    replicas = _more_replicas(s, ask)
    if replicas is not None:
        yield {"spec": {"replicas": replicas}}
    shorter = _shorter(s, ask)
    if shorter is not None:
        yield _engine(maxModelLen=shorter)
    eight = ask.with_args(kv_cache_dtype=FP8)
    if not (ask.args.kv_cache_dtype or "").startswith(FP8):
        if _found(s.here, eight):
            yield _engine(kvCacheDtype=FP8)
        elif (both := _shorter(s, eight)) is not None:
            yield _engine(kvCacheDtype=FP8, maxModelLen=both)
    if ask.args.gpu_memory_utilization is not None and _found(s.here, ask.with_args(gpu_memory_utilization=None)):
        yield _engine(gpuMemoryUtilization=None)
    if ask.args.tensor_parallel_size is not None and other_size is None and (both := _shorter(s, free)) is not None:
        plan = _found(s.here, free.with_args(max_model_len=both))
        if plan is not None:
            yield _engine(maxModelLen=both, tensorParallelSize=plan.candidate.layout.tensor_parallel_size)
    if ask.args.quantization is None and _found(s.here, ask.with_args(quantization=FP8)):
        yield _engine(quantization=FP8)


def _found(mover: Mover, ask: Ask) -> Found | None:
    result = mover.search(ask)
    return result if isinstance(result, Found) else None


def _raised(ask: Ask) -> Iterator[Patch]:
    """Pinned values below what the worksheet's requests need, raised to just that."""
    fields = {field: least for field, least in least_values(ask).items() if (pinned(ask, field) or least) < least}
    if fields:
        yield _engine(**fields)


def _more_replicas(s: Scene, ask: Ask) -> int | None:
    """The fewest replicas that hold the worksheet together, each its share; None where not even one request each would fit."""
    if ask.worksheet is None:
        return None
    misses = s.here.search(ask)
    above = max(1, ask.replicas)
    hint = 0 if isinstance(misses, Found) or not misses else _replicas_hint(above, best_miss(misses).miss)
    most = min(ask.worksheet.in_flight, _MAX_REPLICAS)
    return least_replicas(lambda replicas: _found(s.here, replace(ask, replicas=replicas)) is not None, above, most, hint)


def _replicas_hint(replicas: int, miss: Miss) -> int:
    """The KV cache needed over the KV cache there is, of the nearest miss."""
    needed = dict(miss.parts).get("KV cache", 0)
    offered = needed - miss.short_by_bytes
    return ceil_div(replicas * needed, offered) if 0 < offered < needed else 0


def _shorter(s: Scene, ask: Ask) -> int | None:
    """The longest context that fits below the one asked for, above the user's own minimum where one is set."""
    asked_floor = max(s.facts.deployment.spec.fit.min_max_model_len or 0, least_values(ask).get("maxModelLen", 0))
    high = ask.args.max_model_len or (None if asked_floor else ask.min_max_model_len)
    if high is None or asked_floor >= high:
        return None
    floor = asked_floor or min(_LEAST_CONTEXT, high - 1)
    settled = s.here.settle(replace(ask.with_args(max_model_len=high), min_max_model_len=floor), "maxModelLen")
    return settled.args.max_model_len if settled is not None else None


def _elsewhere(ask: Ask, plan: Found) -> dict[str, Any]:
    placement: dict[str, Any] = {"gpuProducts": [product.gpu.product for product in plan.candidate.products]}
    if ask.placement.node_selector:
        placement["nodeSelector"] = None
    return {"spec": {"placement": placement}}


def _engine(**fields: Any) -> dict[str, Any]:
    return {"spec": {"engine": fields}}


def _summary(patch: Patch, plan: Plan) -> str:
    spec = patch["spec"]
    said = [f"engine.{field} {value}" if value is not None else f"no engine.{field}" for field, value in spec.get("engine", {}).items()]
    if "replicas" in spec:
        said.append(f"replicas {spec['replicas']}")
    placement = spec.get("placement", {})
    if "gpuProducts" in placement:
        said.append(f"placement.gpuProducts {', '.join(placement['gpuProducts'])}")
    if "nodeSelector" in placement:
        said.append("no placement.nodeSelector")
    gpus = plan.gpus_per_replica
    placed = f"{gpus} x {plan.product} per replica"
    return f"With {' and '.join(said)}: {placed}, context {plan.max_model_len}, KV cache {plan.kv_cache_tokens} tokens."
