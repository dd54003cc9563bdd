"""Between the worksheet and one layout: what its engines must hold, what contradicts it, how many replicas it takes.

Called by `search` for each candidate, by `changes` for replicas. Knows requests and fits, no pools and no verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from plimsoll_estimator import EngineArgs
from plimsoll_operator.decision.fit.fit import EngineRequest, Fit
from plimsoll_operator.decision.fit.kv_demand import demanded_blocks
from plimsoll_operator.decision.fit.miss import Miss
from plimsoll_operator.decision.request.request import DeploymentRequest
from plimsoll_operator.decision.request.worksheet import least_replicas
from plimsoll_operator.verdict import Reason

# Below this, every release's default of max_num_batched_tokens covers max_num_seqs (vLLM engine/arg_utils.py: 2048 at least).
_ALWAYS_COVERED: Final = 2048


def engine_request_of(request: DeploymentRequest, args: EngineArgs) -> EngineRequest:
    """The engine request at the candidate's parallel sizes; context and sequences follow from the worksheet where they are not pinned."""
    engine_request = EngineRequest(
        args=args,
        min_max_model_len=request.min_max_model_len,
        reserve_bytes=request.reserve_bytes,
        insisted_context=request.insisted_context,
        sure=request.sure,
    )
    if request.worksheet is None:
        return engine_request
    traffic = request.worksheet.per_engine(request.engines(args.data_parallel_size or 1))
    args = replace(args, max_model_len=request.max_model_len)
    if args.max_num_seqs is None:
        args = replace(args, max_num_seqs=traffic.in_flight)
        if args.max_num_batched_tokens is None and traffic.in_flight > _ALWAYS_COVERED:
            args = replace(args, max_num_batched_tokens=traffic.in_flight)
    return replace(engine_request, args=args, traffic=traffic)


def contradiction(request: DeploymentRequest, engine_request: EngineRequest) -> Miss | None:
    """A pinned value that the worksheet's own requests exceed."""
    if request.worksheet is None or engine_request.traffic is None:
        return None
    context, longest = request.args.max_model_len, request.worksheet.longest
    if context is not None and context < longest.tokens:
        message = f"request class {longest.name} needs a context of {longest.tokens} tokens, engine.maxModelLen is {context}"
        return Miss(reason=Reason.WORKLOAD_NOT_SERVED, message=message, about="max_model_len")
    seqs, in_flight = request.args.max_num_seqs, engine_request.traffic.in_flight
    if seqs is not None and seqs < in_flight:
        message = f"{in_flight} requests are in flight on each engine, engine.maxNumSeqs is {seqs}"
        return Miss(reason=Reason.WORKLOAD_NOT_SERVED, message=message, about="max_num_seqs")
    return None


def least_values(request: DeploymentRequest) -> Mapping[str, int]:
    """What pinned fields must reach so that the worksheet's requests are served, by API field; empty without a worksheet."""
    if request.worksheet is None:
        return {}
    traffic = request.worksheet.per_engine(request.engines(request.args.data_parallel_size or 1))
    return {"maxModelLen": request.worksheet.max_model_len, "maxNumSeqs": traffic.in_flight}


def replicas_needed(request: DeploymentRequest, fit: Fit) -> int:
    """The fewest replicas of this very plan whose KV caches hold the workload; at most those asked for, which do."""
    worksheet, plan, resolved = request.worksheet, fit.estimate.kv_plan, fit.estimate.resolved
    if worksheet is None or plan is None or resolved is None:
        return 0

    def holds(replicas: int) -> bool:
        traffic = worksheet.per_engine(replicas * resolved.data_parallel_size)
        return demanded_blocks(fit.prepared, traffic) <= plan.num_gpu_blocks

    asked = max(1, request.replicas)
    return least_replicas(holds, 0, asked) or asked
