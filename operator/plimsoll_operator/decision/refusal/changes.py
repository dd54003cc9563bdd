"""Changes of one refused request that would fit, the least intrusive first: each found by searching with one of its values loosened.

Called by `offers`, which verifies what is found here. Writes JSON merge patches on the InferenceDeployment; makes no verdict.

The order is that of what a change costs the user: what was pinned too low or for nothing, more GPUs or other GPUs, more
replicas, less context, a coarser cache, coarser weights, and two of these at once last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from plimsoll_estimator import ceil_div, spans_nodes
from plimsoll_operator.api import PlacementSpec
from plimsoll_operator.decision.fit.miss import Miss
from plimsoll_operator.decision.fit.workload import least_values
from plimsoll_operator.decision.request.placement import match
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.request.worksheet import least_replicas
from plimsoll_operator.decision.search.candidate import Found
from plimsoll_operator.decision.search.moves import FP8, Mover, pinned
from plimsoll_operator.decision.search.products import products_of
from plimsoll_operator.decision.search.search import best_miss
from plimsoll_operator.facts import Facts, ModelFacts

_LEAST_CONTEXT: Final = 1024
MOST_NODES_OFFERED: Final = 4
_MAX_REPLICAS: Final = 10000  # the API's limit
Patch = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What the ways are found from: the refused facts, what was read of them, and the moves on pools as placed and on all."""

    facts: Facts
    request: DeploymentRequest
    here: Mover
    everywhere: Mover


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecChange:
    """A patch, and the model it names where that is another one."""

    patch: Patch
    model: ModelFacts | None = None


def refused_of(facts: Facts, request: DeploymentRequest, make_mover: Callable[[Any], Mover]) -> Refused:
    """Prepare the moves; `make_mover` makes one for a set of products."""
    open_placement = anywhere(request.placement)
    here, _ = products_of(match(request.placement, facts.pools).pools)
    everywhere, _ = products_of(match(open_placement, facts.pools).pools)
    return Refused(facts=facts, request=request, here=make_mover(here), everywhere=make_mover(everywhere))


def anywhere(placement: PlacementSpec) -> PlacementSpec:
    """The placement without what says which GPUs and which nodes."""
    return placement.model_copy(update={"gpu_products": (), "node_selector": {}})


def changes_of(s: Refused) -> Iterator[SpecChange]:
    """Every change there is, as far as the caller looks: each is searched for when it is asked for."""
    for patches in (_raised, _computed_utilisation, _other_size, _other_pool, _more_nodes, _more_replicas, _less_context, _coarser_cache):
        yield from (SpecChange(patch=patch) for patch in patches(s))
    yield from _coarser_checkpoint(s)
    for patches in (_coarser_weights, _less_context_and_coarser_cache, _less_context_and_other_size):
        yield from (SpecChange(patch=patch) for patch in patches(s))


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


def _raised(s: Refused) -> Iterator[Patch]:
    """Pinned values below what the worksheet's requests need, raised to just that."""
    fields = {field: least for field, least in least_values(s.request).items() if (pinned(s.request, field) or least) < least}
    if fields:
        yield _engine(**fields)


def _computed_utilisation(s: Refused) -> Iterator[Patch]:
    if s.request.args.gpu_memory_utilization is not None and _found(s.here, s.request.with_args(gpu_memory_utilization=None)):
        yield _engine(gpuMemoryUtilization=None)


def _other_size(s: Refused) -> Iterator[Patch]:
    if s.request.args.tensor_parallel_size is None:
        return
    found = _found(s.here, s.request.with_args(tensor_parallel_size=None))
    if found is not None:
        yield _engine(**_sizes(s.request, found))


def _sizes(request: DeploymentRequest, found: Found) -> dict[str, int]:
    """The tensor parallel size of a layout, and its stages where the request as it stands means other ones."""
    layout = found.candidate.layout
    sizes = {"tensorParallelSize": layout.tensor_parallel_size}
    if layout.pipeline_parallel_size != (request.args.pipeline_parallel_size or 1):
        sizes["pipelineParallelSize"] = layout.pipeline_parallel_size
    return sizes


def _more_nodes(s: Refused) -> Iterator[Patch]:
    """A few nodes more than placement allows, where replicas over nodes can be made at all."""
    whole_engines = (s.request.args.data_parallel_size or 1) - 1
    if not (s.facts.leader_worker_set and spans_nodes(s.request.version, whole_engines)) or s.request.max_nodes >= MOST_NODES_OFFERED:
        return
    found = _found(s.here, replace(s.request, max_nodes=MOST_NODES_OFFERED))
    if found is not None:
        yield {"spec": {"placement": {"maxNodesPerReplica": found.candidate.layout.nodes}}}


def _other_pool(s: Refused) -> Iterator[Patch]:
    request = s.request
    if not request.placement.gpu_products and not request.placement.node_selector:
        return
    for _, product in match(request.placement, s.facts.pools).meant(request.placement):
        yield {"spec": {"placement": {"gpuProducts": [product]}}}
    free = replace(request, placement=anywhere(request.placement))
    if found := _found(s.everywhere, free):
        yield _on_its_gpus(request, found)
    elif request.args.tensor_parallel_size is not None and (found := _found(s.everywhere, free.with_args(tensor_parallel_size=None))):
        yield apply_patch(_on_its_gpus(request, found), _engine(**_sizes(request, found)))


def _more_replicas(s: Refused) -> Iterator[Patch]:
    """The fewest replicas that hold the worksheet together, each its share; none where not even one request each would fit."""
    if s.request.worksheet is None:
        return
    misses = s.here.search(s.request)
    above = max(1, s.request.replicas)
    hint = 0 if isinstance(misses, Found) or not misses else _replicas_hint(above, best_miss(misses).miss)
    most = min(s.request.worksheet.in_flight, _MAX_REPLICAS)
    replicas = least_replicas(lambda count: _found(s.here, replace(s.request, replicas=count)) is not None, above, most, hint)
    if replicas is not None:
        yield {"spec": {"replicas": replicas}}


def _replicas_hint(replicas: int, miss: Miss) -> int:
    """The KV cache needed over what the nearest miss has beside its weights: activation falls with the requests of a replica."""
    parts = dict(miss.parts)
    needed = parts.pop("KV cache", 0)
    left = (miss.available_bytes or 0) - sum(size for name, size in parts.items() if name != "activation")
    return ceil_div(replicas * needed, left) if 0 < left < needed else 0


def _less_context(s: Refused) -> Iterator[Patch]:
    shorter = _shorter(s, s.request)
    if shorter is not None:
        yield _engine(maxModelLen=shorter)


def _coarser_cache(s: Refused) -> Iterator[Patch]:
    if not _has_coarse_cache(s) and _found(s.here, _coarse_cache(s)):
        yield _engine(kvCacheDtype=FP8)


def _coarser_checkpoint(s: Refused) -> Iterator[SpecChange]:
    """The same model as published with quantised weights; what was said about the other's revision, profile and method goes."""
    model = s.facts.deployment.spec.model
    for sibling in s.facts.siblings:
        said: dict[str, Any] = {"name": sibling.name}
        said |= {field: None for field, value in (("revision", model.revision), ("profile", model.profile)) if value is not None}
        method = {"engine": {"quantization": None}} if s.request.args.quantization is not None else {}
        yield SpecChange(patch={"spec": {"model": said, **method}}, model=sibling)


def _coarser_weights(s: Refused) -> Iterator[Patch]:
    """The weights quantised as they are loaded."""
    if s.request.args.quantization is None and _found(s.here, s.request.with_args(quantization=FP8)):
        yield _engine(quantization=FP8)


def _less_context_and_coarser_cache(s: Refused) -> Iterator[Patch]:
    if not _has_coarse_cache(s) and not _found(s.here, _coarse_cache(s)) and (both := _shorter(s, _coarse_cache(s))) is not None:
        yield _engine(kvCacheDtype=FP8, maxModelLen=both)


def _less_context_and_other_size(s: Refused) -> Iterator[Patch]:
    free = s.request.with_args(tensor_parallel_size=None)
    if s.request.args.tensor_parallel_size is None or _found(s.here, free) or (both := _shorter(s, free)) is None:
        return
    found = _found(s.here, free.with_args(max_model_len=both))
    if found is not None:
        yield _engine(maxModelLen=both, **_sizes(s.request, found))


def _has_coarse_cache(s: Refused) -> bool:
    return (s.request.args.kv_cache_dtype or "").startswith(FP8)


def _coarse_cache(s: Refused) -> DeploymentRequest:
    return s.request.with_args(kv_cache_dtype=FP8)


def _found(mover: Mover, request: DeploymentRequest) -> Found | None:
    result = mover.search(request)
    return result if isinstance(result, Found) else None


def _shorter(s: Refused, request: DeploymentRequest) -> int | None:
    """The longest context that fits below the one asked for, above the user's own minimum where one is set."""
    asked_floor = max(s.facts.deployment.spec.fit.min_max_model_len or 0, least_values(request).get("maxModelLen", 0))
    high = request.args.max_model_len or (None if asked_floor else request.min_max_model_len)
    if high is None or asked_floor >= high or high == 1:
        return None
    floor = asked_floor or min(_LEAST_CONTEXT, high - 1)
    settled = s.here.settle(replace(request.with_args(max_model_len=high), min_max_model_len=floor), "maxModelLen")
    return settled.args.max_model_len if settled is not None else None


def _on_its_gpus(request: DeploymentRequest, plan: Found) -> dict[str, Any]:
    placement: dict[str, Any] = {"gpuProducts": [product.gpu.product for product in plan.candidate.products]}
    if request.placement.node_selector:
        placement["nodeSelector"] = None
    return {"spec": {"placement": placement}}


def _engine(**fields: Any) -> dict[str, Any]:
    return {"spec": {"engine": fields}}
