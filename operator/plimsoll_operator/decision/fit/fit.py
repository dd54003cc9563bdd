"""One model on one GPU type in one parallel layout: the plan that starts there, or by how much it misses.

Called by `search` for every candidate. Pure arithmetic over the estimator: chooses utilisation, batch sizes and context
where they are not pinned. Knows no pools, no availability and no verdicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from plimsoll_estimator import EngineArgs, Estimate, Gpu, Prepared, ResolvedArgs, round_up
from plimsoll_operator.decision.fit import utilisation
from plimsoll_operator.decision.fit.engine import Engine
from plimsoll_operator.decision.fit.kv_demand import demanded_blocks
from plimsoll_operator.decision.fit.miss import Miss, engine_refuses, miss_of, nothing_left, pinned_problem, refusal_of
from plimsoll_operator.decision.request.worksheet import EngineTraffic
from plimsoll_operator.verdict import Reason

CONTEXT_STEP: Final = 16
MIN_DEFAULT_SEQS: Final = 64
MIN_DEFAULT_TOKENS: Final = 2048
_MOST_GUESSES: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """What is to be fitted: pinned arguments, the least context that serves, bytes to keep in hand, and requests to hold at once.

    `insisted_context` is a least context that the user has named: a model whose own maximum is less is refused, as vLLM would refuse it.
    `sure` judges at the lower end of the estimate's interval instead of its middle. `parts` is into how many a
    time-sliced card is cut: the engine may take one of them, and takes no more than the plan needs. `room` is what may be used of the
    card, None: all of it.
    """

    args: EngineArgs
    min_max_model_len: int
    reserve_bytes: int
    insisted_context: int = 0
    traffic: EngineTraffic | None = None
    sure: bool = False
    parts: int = 1
    room: utilisation.Room | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """It starts. `args` has every computed value filled in; `lowered` tells which unpinned defaults were lowered, and how far.

    `sure`: it starts, and holds the requests asked for, even at the lower end of the estimate's interval. `demanded_blocks` are the KV
    blocks that these requests hold, headroom and vLLM's own block included; 0 without requests.
    """

    args: EngineArgs
    prepared: Prepared
    estimate: Estimate
    thousandths: int
    sure: bool
    lowered: tuple[tuple[str, int, int], ...] = ()
    demanded_blocks: int = 0


def fit(engine: Engine, gpu: Gpu, engine_request: EngineRequest) -> Fit | Miss:
    """The plan on a whole GPU, or in its part of a shared one: there with the smallest utilisation that holds it."""
    found = _fit(engine, gpu, engine_request)
    if engine_request.parts == 1:
        return found
    if isinstance(found, Fit):
        return found if engine_request.args.gpu_memory_utilization is not None else _smallest(engine, gpu, engine_request, found)
    if found.needed_bytes is None:
        return found
    # What is short is not the card but the part of it that time-slicing can give.
    return replace(found, reason=Reason.SHARING_UNSAFE, message=f"1 of {engine_request.parts} time-sliced parts of the GPU is too small")


def _smallest(engine: Engine, gpu: Gpu, engine_request: EngineRequest, found: Fit) -> Fit:
    """The same plan at the smallest utilisation at which it starts as surely as it does now."""
    judged = replace(engine_request, sure=found.sure)
    prepared = engine.prepare(replace(found.args, gpu_memory_utilization=None), gpu)
    assert isinstance(prepared, Prepared), "what starts is not refused"
    low, high, best = 0, found.thousandths, found
    while low + 1 < high:
        middle = (low + high) // 2
        utilization = utilisation.fraction(middle)
        estimate = prepared.estimate(utilization)
        sure = _is_sure(prepared, estimate, found.demanded_blocks)
        if _starts(estimate, judged, found.demanded_blocks, sure=sure):
            args = replace(found.args, gpu_memory_utilization=utilization)
            high, best = middle, replace(found, args=args, prepared=prepared, estimate=estimate, thousandths=middle, sure=sure)
        else:
            low = middle
    return best


def _fit(engine: Engine, gpu: Gpu, engine_request: EngineRequest) -> Fit | Miss:
    """The plan closest to vLLM's own defaults that starts: batch sizes are lowered before context, pinned values never.

    A plan that starts only with luck is made sure by lower batch sizes where that is enough.
    """
    first = _start(engine, gpu, engine_request)
    if isinstance(first, Fit):
        return _surer(engine, gpu, engine_request, first)
    if first.check is not None or first.hopeless:
        return first
    full = _lower_batch(engine, gpu, engine_request)
    if isinstance(full, Fit):
        return _surer(engine, gpu, engine_request, full)
    if engine_request.args.max_model_len is not None:
        return full
    return _lower_context(engine, gpu, engine_request, full)


def _surer(engine: Engine, gpu: Gpu, engine_request: EngineRequest, found: Fit) -> Fit:
    """The same with batch sizes so low that it starts at the lower end of its interval too, where there are any."""
    if found.sure:
        return found
    surer = _lower_batch(engine, gpu, replace(engine_request, sure=True))
    return surer if isinstance(surer, Fit) else found


def _start(engine: Engine, gpu: Gpu, engine_request: EngineRequest) -> Fit | Miss:
    """One try at given arguments, with the utilisation computed where it is not pinned."""
    prepared = engine.prepare(engine_request.args, gpu)
    if isinstance(prepared, Estimate):
        return refusal_of(prepared)
    if engine_request.args.max_model_len is None and prepared.resolved.max_model_len < engine_request.insisted_context:
        longer = engine.prepare(replace(engine_request.args, max_model_len=engine_request.insisted_context), gpu)
        if isinstance(longer, Estimate):
            return refusal_of(longer)
    pinned = engine_request.args.gpu_memory_utilization
    room = _room(prepared, gpu, engine_request)
    if pinned is not None:
        thousandths, utilization = utilisation.thousandths_of(pinned), pinned
        problem = pinned_problem(prepared.outside_budget, gpu, pinned, room)
    else:
        thousandths = utilisation.computed(prepared.outside_budget, engine_request.reserve_bytes, gpu.total_memory_bytes, room)
        utilization = utilisation.fraction(thousandths)
        problem = nothing_left(prepared.outside_budget, gpu, engine_request.reserve_bytes, room) if thousandths <= 0 else None
    if problem is not None:
        return problem
    estimate = prepared.estimate(utilization)
    if engine_refuses(estimate):
        return refusal_of(estimate)
    demanded = demanded_blocks(prepared, engine_request.traffic)
    sure = _is_sure(prepared, estimate, demanded)
    if not _starts(estimate, engine_request, demanded, sure=sure):
        budget = utilisation.requested_bytes(thousandths, gpu.total_memory_bytes)
        return miss_of(estimate, budget, demanded, longest=_longest(prepared, estimate, engine_request))
    resolved = prepared.resolved
    args = replace(
        engine_request.args,
        gpu_memory_utilization=utilization,
        max_model_len=resolved.max_model_len,
        max_num_seqs=resolved.max_num_seqs,
        max_num_batched_tokens=resolved.max_num_batched_tokens,
        tensor_parallel_size=resolved.tensor_parallel_size,
        pipeline_parallel_size=resolved.pipeline_parallel_size,
        data_parallel_size=resolved.data_parallel_size,
    )
    return Fit(args=args, prepared=prepared, estimate=estimate, thousandths=thousandths, sure=sure, demanded_blocks=demanded)


def _room(prepared: Prepared, gpu: Gpu, engine_request: EngineRequest) -> int:
    """What there is for the engine: its part of what may be used."""
    room = engine_request.room or utilisation.Room(limit_bytes=gpu.total_memory_bytes)
    pinned = engine_request.args.gpu_memory_utilization is not None
    return room.for_engine(prepared.host_memory.resident_bytes, pinned=pinned) // engine_request.parts


def _is_sure(prepared: Prepared, estimate: Estimate, demanded: int) -> bool:
    """Whether what starts also starts, and holds so many blocks, at the lower end of its interval."""
    interval = estimate.available_kv_cache_interval_bytes
    return interval is None or estimate.verdict != "starts" or prepared.starts_with_pool(interval[0], demanded)


def _starts(estimate: Estimate, engine_request: EngineRequest, demanded: int, *, sure: bool) -> bool:
    """Starts and holds the requests asked for; for a sure one, and for an engine newer than any known one, even at the pessimistic end."""
    plan = estimate.kv_plan
    if estimate.verdict != "starts" or (plan is not None and plan.num_gpu_blocks < demanded):
        return False
    return sure or not _must_be_sure(estimate, engine_request)


def _must_be_sure(estimate: Estimate, engine_request: EngineRequest) -> bool:
    resolved = estimate.resolved
    return engine_request.sure or (resolved is not None and (resolved.extrapolated or bool(resolved.given.unruled)))


def _longest(prepared: Prepared, estimate: Estimate, engine_request: EngineRequest) -> int | None:
    """The longest request that the pool judged by would hold, for the search to look at next; None where nothing tells."""
    interval = estimate.available_kv_cache_interval_bytes
    if interval is not None and _must_be_sure(estimate, engine_request):
        return prepared.longest_with_pool(interval[0])
    return estimate.estimated_max_model_len


def _resolved(engine: Engine, gpu: Gpu, args: EngineArgs) -> ResolvedArgs | None:
    """The arguments as vLLM would resolve them; None where it refuses them."""
    return engine.prepare(args, gpu).resolved


def _lower_batch(engine: Engine, gpu: Gpu, engine_request: EngineRequest) -> Fit | Miss:
    """Lower vLLM's default max_num_seqs, then max_num_batched_tokens, by halves as far as needed; the lowest try when none fits."""
    ladder = _ladder(engine, gpu, engine_request)
    if not ladder:
        return _start(engine, gpu, engine_request)
    lowest = _start(engine, gpu, replace(engine_request, args=replace(engine_request.args, **ladder[-1])))
    if isinstance(lowest, Miss):
        return lowest
    default = _resolved(engine, gpu, engine_request.args)
    for rung in ladder:
        found = _start(engine, gpu, replace(engine_request, args=replace(engine_request.args, **rung)))
        if isinstance(found, Fit) and default is not None:
            pairs = (
                ("max_num_seqs", default.max_num_seqs, found.args.max_num_seqs or 0),
                ("max_num_batched_tokens", default.max_num_batched_tokens, found.args.max_num_batched_tokens or 0),
            )
            return replace(found, lowered=tuple(pair for pair in pairs if pair[1] != pair[2]))
    return lowest


def _ladder(engine: Engine, gpu: Gpu, engine_request: EngineRequest) -> list[dict[str, Any]]:
    """The lowered batch sizes to try, by argument, each rung lower than the one before."""
    default = _resolved(engine, gpu, engine_request.args)
    if default is None:
        return []
    rung: dict[str, Any] = {}
    steps: list[dict[str, Any]] = []
    tokens_are_free = engine_request.args.max_num_batched_tokens is None and engine_request.args.enable_chunked_prefill is not False
    if engine_request.args.max_num_seqs is None:
        seqs = default.max_num_seqs
        while seqs // 2 >= MIN_DEFAULT_SEQS:
            seqs //= 2
            rung = rung | {"max_num_seqs": seqs}
            steps.append(rung)
    if tokens_are_free:
        tokens = default.max_num_batched_tokens
        seqs = rung.get("max_num_seqs") or engine_request.args.max_num_seqs or default.max_num_seqs
        while tokens // 2 >= max(MIN_DEFAULT_TOKENS, seqs):
            tokens //= 2
            rung = rung | {"max_num_batched_tokens": tokens}
            steps.append(rung)
    return steps


def _lower_context(engine: Engine, gpu: Gpu, engine_request: EngineRequest, miss: Miss) -> Fit | Miss:
    """Lower an unpinned context to the longest that surely fits, not below the least that serves.

    A context we choose holds at the lower end of the interval; only where not even the least does, the middle decides.
    """
    ladder = _ladder(engine, gpu, engine_request)
    args = replace(engine_request.args, **ladder[-1]) if ladder else engine_request.args
    default = _resolved(engine, gpu, engine_request.args)
    if default is None or engine_request.min_max_model_len >= default.max_model_len:
        return miss

    def at(length: int, sure: bool) -> Fit | Miss:
        return _start(engine, gpu, replace(engine_request, args=replace(args, max_model_len=length), sure=sure))

    def longest(sure: bool) -> int:
        def look(length: int) -> Look:
            return Look.at(at(length, sure))

        return longest_context(look, engine_request.min_max_model_len, default.max_model_len, miss.estimated_max_model_len)

    length = longest(sure=True) or (0 if engine_request.sure else longest(sure=False))
    found = at(length or engine_request.min_max_model_len, engine_request.sure)
    if isinstance(found, Miss):
        return found
    pairs = (
        ("max_num_seqs", default.max_num_seqs, found.args.max_num_seqs or 0),
        ("max_num_batched_tokens", default.max_num_batched_tokens, found.args.max_num_batched_tokens or 0),
        ("max_model_len", default.max_model_len, found.args.max_model_len or 0),
    )
    return replace(found, lowered=tuple(pair for pair in pairs if pair[1] != pair[2]))


class Look(NamedTuple):
    """What one length told: whether it fits, and how long a context would, as far as that length can tell (0: nothing)."""

    fits: bool
    guess: int

    @classmethod
    def at(cls, found: Fit | Miss) -> Look:
        """A fit holds so many tokens; a miss knows the longest request for which its cache would have done."""
        return cls(True, kv_tokens(found)) if isinstance(found, Fit) else cls(False, found.estimated_max_model_len or 0)


def longest_context(at: Callable[[int], Look], low: int, high: int, hint: int | None) -> int:
    """The longest context in [low, high) that fits, a multiple of 16 where above `low`; 0 when `low` does not fit either.

    What fits must fit when shorter. Each look tells nearly where the limit lies, and so does `hint`, vLLM's own estimate;
    bisection does the rest.
    """
    # No multiple lies between `high` and the next one: with that as the bound every multiple below is looked at.
    below, above, guess = 0, round_up(high, CONTEXT_STEP), hint or 0
    for _ in range(_MOST_GUESSES):
        guess = guess // CONTEXT_STEP * CONTEXT_STEP
        if not max(low, below) < guess < above:
            break
        fits, following = at(guess)
        if fits:
            below = guess
        else:
            above = guess
        guess = following
    if not below:
        if not at(low).fits:
            return 0
        below = low
    following = below // CONTEXT_STEP * CONTEXT_STEP + CONTEXT_STEP
    if following < above:
        if not at(following).fits:
            return below
        below = following
    while (middle := (below + above) // 2 // CONTEXT_STEP * CONTEXT_STEP) > below:
        if at(middle).fits:
            below = middle
        else:
            above = middle
    return below


def kv_tokens(found: Fit) -> int:
    """Tokens the KV cache of one replica holds."""
    plan = found.estimate.kv_plan
    return plan.kv_cache_tokens if plan is not None else 0
