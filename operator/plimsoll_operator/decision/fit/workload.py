"""Between the worksheet and one layout: what its engines must hold, what contradicts it, how many replicas it takes.

Called by `search` for each candidate, by `offers` and `decide` for replicas. Knows asks and fits, no pools and no verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from plimsoll_estimator import EngineArgs
from plimsoll_operator.decision.fit.fit import Fit, Wish
from plimsoll_operator.decision.fit.kv_demand import held_blocks
from plimsoll_operator.decision.fit.miss import Miss
from plimsoll_operator.decision.request.request import Ask
from plimsoll_operator.decision.request.worksheet import least_replicas
from plimsoll_operator.verdict import Reason

# Below this, every release's default of max_num_batched_tokens covers max_num_seqs (vLLM engine/arg_utils.py: 2048 at least).
_ALWAYS_COVERED: Final = 2048


def wish_of(ask: Ask, args: EngineArgs) -> Wish:
    """The wish at the candidate's parallel sizes; context and sequences follow from the worksheet where they are not pinned."""
    wish = Wish(
        args=args,
        min_max_model_len=ask.min_max_model_len,
        reserve_bytes=ask.reserve_bytes,
        insisted_context=ask.insisted_context,
        sure=ask.sure,
    )
    if ask.worksheet is None:
        return wish
    share = ask.worksheet.share(ask.engines(args.data_parallel_size or 1))
    args = replace(args, max_model_len=ask.max_model_len)
    if args.max_num_seqs is None:
        args = replace(args, max_num_seqs=share.in_flight)
        if args.max_num_batched_tokens is None and share.in_flight > _ALWAYS_COVERED:
            args = replace(args, max_num_batched_tokens=share.in_flight)
    return replace(wish, args=args, share=share)


def contradiction(ask: Ask, wish: Wish) -> Miss | None:
    """A pinned value that the worksheet's own requests exceed."""
    if ask.worksheet is None or wish.share is None:
        return None
    context, longest = ask.args.max_model_len, ask.worksheet.longest
    if context is not None and context < longest.tokens:
        message = f"request class {longest.name} needs a context of {longest.tokens} tokens, engine.maxModelLen is {context}"
        return Miss(reason=Reason.WORKLOAD_NOT_SERVED, message=message, about="max_model_len")
    seqs, in_flight = ask.args.max_num_seqs, wish.share.in_flight
    if seqs is not None and seqs < in_flight:
        message = f"{in_flight} requests are in flight on each engine, engine.maxNumSeqs is {seqs}"
        return Miss(reason=Reason.WORKLOAD_NOT_SERVED, message=message, about="max_num_seqs")
    return None


def least_values(ask: Ask) -> Mapping[str, int]:
    """What pinned fields must reach so that the worksheet's requests are served, by API field; empty without a worksheet."""
    if ask.worksheet is None:
        return {}
    share = ask.worksheet.share(ask.engines(ask.args.data_parallel_size or 1))
    return {"maxModelLen": ask.worksheet.max_model_len, "maxNumSeqs": share.in_flight}


def replicas_needed(ask: Ask, fit: Fit) -> int:
    """The fewest replicas of this very plan whose KV caches hold the workload; at most those asked for, which do."""
    worksheet, plan, resolved = ask.worksheet, fit.estimate.kv_plan, fit.estimate.resolved
    if worksheet is None or plan is None or resolved is None:
        return 0

    def holds(replicas: int) -> bool:
        share = worksheet.share(replicas * resolved.data_parallel_size)
        return held_blocks(fit.prepared, share) <= plan.num_gpu_blocks

    asked = max(1, ask.replicas)
    return least_replicas(holds, 0, asked) or asked
