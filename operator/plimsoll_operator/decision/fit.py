"""One model on one GPU type in one parallel layout: the plan that starts there, or by how much it misses.

Called by `search` for every candidate. Pure arithmetic over the estimator: chooses utilisation, batch sizes and context
where they are not pinned. Knows no pools, no availability and no verdicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.resolved import Estimate, Gpu, OutsideBudget, RankEstimate
from plimsoll_estimator.units import GIB, MIB
from plimsoll_operator.decision import utilisation
from plimsoll_operator.decision.engine import Engine
from plimsoll_operator.decision.held import fullest, held_blocks, needed_kv_bytes
from plimsoll_operator.decision.worksheet import Share
from plimsoll_operator.verdict import Reason

CONTEXT_STEP: Final = 16
MIN_DEFAULT_SEQS: Final = 64
MIN_DEFAULT_TOKENS: Final = 2048
# Where the estimator names nothing outside the budget: more than any measured start of one engine on one GPU.
_UNKNOWN_OUTSIDE: Final = OutsideBudget(pre_snapshot_bytes=GIB, post_kv_bytes=512 * MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be fitted: pinned arguments, the least context that serves, bytes to keep in hand, and requests to hold at once.

    `sure` judges at the lower end of the estimate's interval instead of its middle. `parts` is into how many a
    time-sliced card is cut: the engine may take one of them, and takes no more than the plan needs.
    """

    args: EngineArgs
    min_max_model_len: int
    reserve_bytes: int
    share: Share | None = None
    sure: bool = False
    parts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """It starts. `args` has every computed value filled in; `lowered` tells which unpinned defaults were lowered, and how far.

    `held_blocks` are the KV blocks that the wish's requests hold, headroom and vLLM's own block included; 0 without requests.
    """

    args: EngineArgs
    estimate: Estimate
    thousandths: int
    lowered: tuple[tuple[str, int, int], ...] = ()
    held_blocks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """It does not. Bytes are per GPU of the fullest rank, `parts` its components; `hopeless`: the weights alone are too much.

    `refusal` names the check of vLLM, or the missing rule, where it is not memory that is short.
    """

    reason: Reason
    message: str
    component: str | None = None
    needed_bytes: int | None = None
    available_bytes: int | None = None
    parts: tuple[tuple[str, int], ...] = ()
    estimated_max_model_len: int | None = None
    hopeless: bool = False
    refusal: str | None = None

    @property
    def short_by_bytes(self) -> int:
        """How far off; misses without figures are the furthest."""
        if self.needed_bytes is None or self.available_bytes is None:
            return 1 << 62
        return self.needed_bytes - self.available_bytes


def fit(engine: Engine, gpu: Gpu, wish: Wish) -> Fit | Miss:
    """The plan on a whole GPU, or in its part of a shared one: there with the smallest utilisation that holds it."""
    found = _fit(engine, gpu, wish)
    if wish.parts == 1:
        return found
    if isinstance(found, Fit):
        return found if wish.args.gpu_memory_utilization is not None else _smallest(engine, gpu, wish, found)
    if found.needed_bytes is None:
        return found
    # What is short is not the card but the part of it that time-slicing can promise.
    return replace(found, reason=Reason.SHARING_UNSAFE, message=f"1 of {wish.parts} time-sliced parts of the GPU is too small")


def _smallest(engine: Engine, gpu: Gpu, wish: Wish, found: Fit) -> Fit:
    """The same plan at the smallest utilisation at which it starts as surely as it does now."""
    judged = replace(wish, sure=_starts(engine, found.estimate, replace(wish, sure=True)))
    low, high, best = 0, found.thousandths, found
    while low + 1 < high:
        middle = (low + high) // 2
        args = replace(found.args, gpu_memory_utilization=utilisation.fraction(middle))
        estimate = engine.estimate(args, gpu)
        if _starts(engine, estimate, judged):
            high, best = middle, replace(found, args=args, estimate=estimate, thousandths=middle)
        else:
            low = middle
    return best


def _fit(engine: Engine, gpu: Gpu, wish: Wish) -> Fit | Miss:
    """The plan closest to vLLM's own defaults that starts: batch sizes are lowered before context, pinned values never.

    A plan that starts only with luck is made sure by lower batch sizes where that is enough.
    """
    first = _start(engine, gpu, wish)
    if isinstance(first, Fit):
        sure = replace(wish, sure=True)
        if _starts(engine, first.estimate, sure):
            return first
        surer = _lower_batch(engine, gpu, sure)
        return surer if isinstance(surer, Fit) else first
    if first.refusal is not None or first.hopeless:
        return first
    full = _lower_batch(engine, gpu, wish)
    if isinstance(full, Fit) or wish.args.max_model_len is not None:
        return full
    return _lower_context(engine, gpu, wish, full)


def _start(engine: Engine, gpu: Gpu, wish: Wish) -> Fit | Miss:
    """One try at given arguments, with the utilisation computed where it is not pinned."""
    pinned = wish.args.gpu_memory_utilization
    if pinned is not None:
        thousandths = utilisation.thousandths_of(pinned)
        estimate = engine.estimate(wish.args, gpu)
        problem = _pinned_problem(estimate, gpu, pinned, wish.parts)
        if problem is not None:
            return problem
    else:
        probe = _probe(engine, gpu, wish.args)
        if _engine_refuses(probe):
            return _refusal(probe)
        thousandths = utilisation.computed(_outside(probe), wish.reserve_bytes, gpu.total_memory_bytes, wish.parts)
        if thousandths <= 0:
            return _nothing_left(probe, gpu, wish.parts)
        engine.probes[gpu, wish.args.tensor_parallel_size] = thousandths
        budget = utilisation.claim_bytes(thousandths, gpu.total_memory_bytes)
        if _is_hopeless(fullest(probe), budget):
            return _miss(engine, probe, budget, wish)
        estimate = engine.estimate(replace(wish.args, gpu_memory_utilization=utilisation.fraction(thousandths)), gpu)
    resolved = estimate.resolved
    if resolved is None or _engine_refuses(estimate):
        return _refusal(estimate)
    if not _starts(engine, estimate, wish):
        return _miss(engine, estimate, utilisation.claim_bytes(thousandths, gpu.total_memory_bytes), wish)
    args = replace(
        wish.args,
        gpu_memory_utilization=utilisation.fraction(thousandths) if pinned is None else pinned,
        max_model_len=resolved.max_model_len,
        max_num_seqs=resolved.max_num_seqs,
        max_num_batched_tokens=resolved.max_num_batched_tokens,
        tensor_parallel_size=resolved.tensor_parallel_size,
        pipeline_parallel_size=resolved.pipeline_parallel_size,
        data_parallel_size=resolved.data_parallel_size,
    )
    return Fit(args=args, estimate=estimate, thousandths=thousandths, held_blocks=held_blocks(engine, estimate, wish.share))


def _probe(engine: Engine, gpu: Gpu, args: EngineArgs) -> Estimate:
    """At the utilisation that is likely to come out: what is resolved and what lives outside the budget do not depend on it."""
    thousandths = engine.probes.get((gpu, args.tensor_parallel_size), utilisation.PROBE_THOUSANDTHS)
    return engine.estimate(replace(args, gpu_memory_utilization=utilisation.fraction(thousandths)), gpu)


def _starts(engine: Engine, estimate: Estimate, wish: Wish) -> bool:
    """Starts and holds the requests asked for; for a sure wish, and for an engine newer than any known one, even at the pessimistic end."""
    held = held_blocks(engine, estimate, wish.share)
    if not _holds(estimate, held):
        return False
    interval = estimate.available_kv_cache_interval_bytes
    if estimate.resolved is not None and (wish.sure or estimate.resolved.extrapolated) and interval is not None:
        pessimistic = engine.estimate_with_pool(estimate.resolved.given, estimate.resolved.gpu, interval[0])
        return _holds(pessimistic, held)
    return True


def _holds(estimate: Estimate, blocks: int) -> bool:
    plan = estimate.kv_plan
    return estimate.verdict == "starts" and (plan is None or plan.num_gpu_blocks >= blocks)


def _lower_batch(engine: Engine, gpu: Gpu, wish: Wish) -> Fit | Miss:
    """Lower vLLM's default max_num_seqs, then max_num_batched_tokens, by halves as far as needed; the lowest try when none fits."""
    ladder = _ladder(engine, gpu, wish)
    if not ladder:
        return _start(engine, gpu, wish)
    lowest = _start(engine, gpu, replace(wish, args=ladder[-1]))
    if isinstance(lowest, Miss):
        return lowest
    default = _probe(engine, gpu, wish.args).resolved
    for args in ladder:
        found = _start(engine, gpu, replace(wish, args=args))
        if isinstance(found, Fit) and default is not None:
            pairs = (
                ("max_num_seqs", default.max_num_seqs, found.args.max_num_seqs or 0),
                ("max_num_batched_tokens", default.max_num_batched_tokens, found.args.max_num_batched_tokens or 0),
            )
            return replace(found, lowered=tuple(pair for pair in pairs if pair[1] != pair[2]))
    return lowest


def _ladder(engine: Engine, gpu: Gpu, wish: Wish) -> list[EngineArgs]:
    default = _probe(engine, gpu, wish.args).resolved
    if default is None:
        return []
    args, steps = wish.args, []
    tokens_are_free = wish.args.max_num_batched_tokens is None and wish.args.enable_chunked_prefill is not False
    if wish.args.max_num_seqs is None:
        seqs = default.max_num_seqs
        while seqs // 2 >= MIN_DEFAULT_SEQS:
            seqs //= 2
            args = replace(args, max_num_seqs=seqs)
            steps.append(args)
    if tokens_are_free:
        tokens = default.max_num_batched_tokens
        while tokens // 2 >= max(MIN_DEFAULT_TOKENS, args.max_num_seqs or default.max_num_seqs):
            tokens //= 2
            args = replace(args, max_num_batched_tokens=tokens)
            steps.append(args)
    return steps


def _lower_context(engine: Engine, gpu: Gpu, wish: Wish, miss: Miss) -> Fit | Miss:
    """Lower an unpinned context to the longest that surely fits, not below the least that serves.

    A context we choose holds at the lower end of the interval; only where not even the least does, the middle decides.
    """
    ladder = _ladder(engine, gpu, wish)
    args = ladder[-1] if ladder else wish.args
    default = _probe(engine, gpu, wish.args).resolved
    if default is None or wish.min_max_model_len >= default.max_model_len:
        return miss

    def at(length: int, sure: bool) -> Fit | Miss:
        return _start(engine, gpu, replace(wish, args=replace(args, max_model_len=length), sure=sure))

    def longest(sure: bool) -> int:
        def tokens(length: int) -> int | None:
            found = at(length, sure)
            return kv_tokens(found) if isinstance(found, Fit) else None

        return longest_context(tokens, wish.min_max_model_len, default.max_model_len, miss.estimated_max_model_len)

    length = longest(sure=True) or (0 if wish.sure else longest(sure=False))
    found = at(length or wish.min_max_model_len, wish.sure)
    if isinstance(found, Miss):
        return found
    pairs = (
        ("max_num_seqs", default.max_num_seqs, found.args.max_num_seqs or 0),
        ("max_num_batched_tokens", default.max_num_batched_tokens, found.args.max_num_batched_tokens or 0),
        ("max_model_len", default.max_model_len, found.args.max_model_len or 0),
    )
    return replace(found, lowered=tuple(pair for pair in pairs if pair[1] != pair[2]))


def longest_context(at: Callable[[int], int | None], low: int, high: int, hint: int | None) -> int:
    """The longest context in [low, high) that fits, a multiple of 16 where above `low`; 0 when `low` does not fit either.

    `at` answers with the KV tokens at a length, None where it does not fit. Tokens at one length tell nearly where the next
    guess lies, and so does `hint`, vLLM's own estimate; bisection does the rest.
    """
    below, above, guess = 0, high, hint or 0
    for _ in range(4):
        guess = guess // CONTEXT_STEP * CONTEXT_STEP
        if not max(low, below) < guess < above:
            break
        tokens = at(guess)
        if tokens is None:
            above = guess
            break
        below, guess = guess, tokens
    if not below:
        if at(low) is None:
            return 0
        below = low
    following = below // CONTEXT_STEP * CONTEXT_STEP + CONTEXT_STEP
    if following < above:
        if at(following) is None:
            return below
        below = following
    while (middle := (below + above) // 2 // CONTEXT_STEP * CONTEXT_STEP) > below:
        if at(middle) is None:
            above = middle
        else:
            below = middle
    return below


def kv_tokens(found: Fit) -> int:
    """Tokens the KV cache of one replica holds."""
    plan = found.estimate.kv_plan
    return plan.kv_cache_tokens if plan is not None else 0


def _outside(estimate: Estimate) -> OutsideBudget:
    return estimate.outside_budget or _UNKNOWN_OUTSIDE


def _pinned_problem(estimate: Estimate, gpu: Gpu, pinned: float, parts: int) -> Miss | None:
    """A pinned utilisation that leaves too little beside the budget: vLLM's free-memory check, or an OOM after KV sizing.

    On a time-sliced card what the other parts may hold is not there either: Kubernetes does not say which card a replica gets.
    """
    if estimate.outside_budget is None:
        return None
    outside = estimate.outside_budget
    claim = utilisation.claim_bytes(utilisation.thousandths_of(pinned), gpu.total_memory_bytes)
    beside = outside.pre_snapshot_bytes + outside.post_kv_bytes
    available = gpu.total_memory_bytes // parts
    if claim + beside <= available:
        return None
    return Miss(
        reason=Reason.INSUFFICIENT_GPU_MEMORY,
        message=f"gpuMemoryUtilization {pinned} leaves too little beside the budget",
        component="outsideBudget",
        needed_bytes=claim + beside,
        available_bytes=available,
        parts=(
            ("budget", claim),
            ("CUDA context and communicators", outside.pre_snapshot_bytes),
            ("graphs and warm-up", outside.post_kv_bytes),
        ),
    )


def _nothing_left(estimate: Estimate, gpu: Gpu, parts: int) -> Miss:
    outside = _outside(estimate)
    return Miss(
        reason=Reason.INSUFFICIENT_GPU_MEMORY,
        message="nothing is left for the engine beside what lives outside its budget",
        component="outsideBudget",
        needed_bytes=outside.pre_snapshot_bytes + outside.post_kv_bytes,
        available_bytes=gpu.total_memory_bytes // parts,
    )


def _engine_refuses(estimate: Estimate) -> bool:
    """Refused before the KV cache was planned: not for want of memory."""
    return estimate.verdict == "refused" and estimate.block_size is None


def _refusal(estimate: Estimate) -> Miss:
    return Miss(reason=Reason.ENGINE_REFUSES, message=f"{estimate.message}", refusal=estimate.reason)


def components(rank: RankEstimate) -> tuple[tuple[str, int], ...]:
    """The rank's claims on the budget, in the order of the timeline."""
    return (
        ("weights", rank.weights_bytes),
        ("activation", rank.activation_bytes),
        ("CUDA graphs", rank.cuda_graph_bytes),
        ("non-torch", rank.non_torch_bytes),
    )


def _is_hopeless(rank: RankEstimate, budget: int) -> bool:
    return rank.weights_bytes + rank.non_torch_bytes >= budget


def _miss(engine: Engine, estimate: Estimate, budget: int, wish: Wish) -> Miss:
    rank = fullest(estimate)
    parts = components(rank)
    if estimate.verdict == "refused" and estimate.kv_plan is not None:
        # The cache can be planned, and yet the start runs out of memory: while loading, capturing graphs or warming up.
        return Miss(reason=Reason.INSUFFICIENT_GPU_MEMORY, message=f"{estimate.message}", component="start-up peak", parts=parts)
    before_kv = sum(size for _, size in parts)
    fits_without_kv = before_kv < budget
    held = held_blocks(engine, estimate, wish.share)
    kv_needed = needed_kv_bytes(estimate, held)
    plan = estimate.kv_plan
    too_few_blocks = plan is not None and plan.num_gpu_blocks < held
    if fits_without_kv and not too_few_blocks and estimate.available_kv_cache_interval_bytes is not None and estimate.verdict == "starts":
        # Refused only at the pessimistic end: what is short is the width of the doubt.
        kv_needed = max(kv_needed, rank.available_kv_cache_bytes + 1)
    if not fits_without_kv:
        component = "weights" if rank.weights_bytes >= budget else max(parts, key=lambda part: part[1])[0]
        reason = Reason.INSUFFICIENT_GPU_MEMORY
    else:
        component, reason = "KV cache", Reason.INSUFFICIENT_KV_CACHE
    needed = max(before_kv + kv_needed, budget + 1)
    return Miss(
        reason=reason,
        message=estimate.message or "does not fit",
        component=component,
        needed_bytes=needed,
        available_bytes=budget,
        parts=(*parts, ("KV cache", needed - before_kv)),
        estimated_max_model_len=estimate.estimated_max_model_len,
        hopeless=_is_hopeless(rank, budget),
    )
