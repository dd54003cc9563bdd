"""The KV cache of one model with one set of arguments: worked out once, planned for any memory size and length.

`kv_cache_layout` and `plan_kv_cache` are the doors of this package; the estimate and the decision's search call them. Knows nothing
of weights or activations: the bytes available come from the caller.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Unsupported
from plimsoll_estimator.kept import kept_with_config
from plimsoll_estimator.kv_cache.grouping import group_layers
from plimsoll_estimator.kv_cache.groups import KvGroup
from plimsoll_estimator.kv_cache.model_layers import model_cache
from plimsoll_estimator.kv_cache.specs import LayerSpec, Reach
from plimsoll_estimator.layers.keeps import model_needs
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules, rules_for
from plimsoll_estimator.resolve.batching import largest_capture
from plimsoll_estimator.resolved import KvPlan, KvRefusal, ResolvedArgs, Sight
from plimsoll_estimator.shape import Shape
from plimsoll_estimator.units import format_gib


class KvCacheLayout(NamedTuple):
    """Groups, block and bytes per block of every stage. No groups: a model without a KV cache."""

    block_size: int
    groups: tuple[KvGroup, ...]
    tables: tuple[tuple[KvGroup, int], ...]
    """One group of each different set of specs, and how many there are: all of them need equally many blocks."""
    kv_block_bytes: tuple[int, ...]
    """Bytes of one block on a rank of each pipeline stage."""
    attention_backend: str
    has_state: bool
    """Whether some layer keeps recurrent state (Mamba, GatedDeltaNet, ...)."""
    stage_layers: tuple[tuple[tuple[LayerSpec, int], ...], ...]
    """Per stage, each different layer spec and how many layers have it: the needs of releases that checked layer by layer."""
    reach: Reach
    max_model_len: int
    max_num_seqs: int
    captured_states: int
    """Sequences for each of which start-up wants a state block when graphs are captured; 0 where it does not look."""
    rules: PlannerRules

    def request_blocks(self, max_model_len: int) -> int:
        """Blocks one request of `max_model_len` tokens holds, over all groups: they draw from one pool."""
        reach = self.reach
        total = 0
        for group, count in self.tables:
            total += count * group.blocks(max_model_len, reach)
        return total

    def _checked_blocks(self, max_model_len: int) -> int:
        """The blocks of one request as the release's capacity check counts them."""
        if self.rules.checks_first_group and self.groups:
            return self.groups[0].blocks(max_model_len, self.reach)
        return self.request_blocks(max_model_len)

    def bytes_for(self, max_model_len: int) -> tuple[int, ...]:
        """The least bytes per stage with which the planner accepts `max_model_len`, its null block included.

        Never falls as `max_model_len` grows.
        """
        held = self._held_back
        return tuple(need + held * size for need, size in zip(self._needed(max_model_len), self.kv_block_bytes, strict=True))

    def _needed(self, max_model_len: int) -> tuple[int, ...]:
        """Bytes of one request on each stage as the release's capacity check counts them."""
        if self.rules.checks_by_group:
            blocks = self._checked_blocks(max_model_len)
            if self.rules.checks_whole_model:
                whole = blocks * max((sum(group.stage_bytes) for group in self.groups), default=0)
                return (whole,) * len(self.kv_block_bytes)
            return tuple(blocks * size for size in self.kv_block_bytes)
        return tuple(self._layers_need(stage, max_model_len) for stage in range(len(self.stage_layers)))

    def _layers_need(self, stage: int, max_model_len: int) -> int:
        reach = self.reach
        return sum(spec.blocks(max_model_len, reach) * spec.page_bytes * n for spec, n in self.stage_layers[stage])

    @property
    def _held_back(self) -> int:
        return 1 if self.rules.reserves_null_block else 0

    def plan(self, available_bytes: tuple[int, ...], max_model_len: int | None = None) -> KvPlan | KvRefusal:
        """vLLM's plan for `available_bytes` per stage, or its refusal. `max_model_len` defaults to the resolved one."""
        length = self.max_model_len if max_model_len is None else max_model_len
        if len(available_bytes) != len(self.kv_block_bytes):
            raise InvalidInput("available_bytes", available_bytes, f"must have {len(self.kv_block_bytes)} entries, one per stage")
        if not self.groups:
            return self._plan_without_cache(length)
        request = self.request_blocks(length)
        refusal = self._refusal(available_bytes, length)
        if refusal is not None:
            return refusal
        per_stage = [available // size if size else None for available, size in zip(available_bytes, self.kv_block_bytes, strict=True)]
        blocks = min(count for count in per_stage if count is not None)
        concurrency = blocks / request
        return KvPlan(
            block_size=self.block_size,
            kv_block_bytes=self.kv_block_bytes,
            num_gpu_blocks_per_stage=tuple(blocks if count is None else count for count in per_stage),
            num_gpu_blocks=blocks,
            kv_cache_tokens=self._tokens(blocks, concurrency, length),
            max_concurrency=concurrency,
            max_model_len=length,
        )

    def refuse_auto_fit(self) -> KvRefusal:
        """The refusal of `--max-model-len auto` where not even one token fits."""
        message = "cannot fit max_model_len: not enough memory for the KV cache of a single token"
        return self._refuse(Check.CANNOT_FIT_MAX_MODEL_LEN, message, None, max(self.bytes_for(1)))

    def _plan_without_cache(self, length: int) -> KvPlan:
        return KvPlan(
            block_size=self.block_size,
            kv_block_bytes=self.kv_block_bytes,
            num_gpu_blocks_per_stage=(1,) * len(self.kv_block_bytes),
            num_gpu_blocks=1,
            kv_cache_tokens=0,
            max_concurrency=0.0,
            max_model_len=length,
        )

    def accepts(self, available_bytes: tuple[int, ...], max_model_len: int | None = None) -> bool:
        """Whether `plan` would be a plan."""
        length = self.max_model_len if max_model_len is None else max_model_len
        return not self.groups or self._shortage(available_bytes, length) is None

    def _shortage(self, available_bytes: tuple[int, ...], length: int) -> tuple[int, int, int] | None:
        """(stage, usable bytes, needed bytes) of the first stage that cannot hold one request; None when all can."""
        for stage, (available, size, needed) in enumerate(zip(available_bytes, self.kv_block_bytes, self._needed(length), strict=True)):
            usable = available - self._held_back * size
            if size and (usable <= 0 or needed > usable):
                return stage, usable, needed
        return None

    def _refusal(self, available_bytes: tuple[int, ...], length: int) -> KvRefusal | None:
        """The first stage's refusal, in vLLM's order: no memory at all, then too little for one request."""
        short = self._shortage(available_bytes, length)
        if short is None:
            return None
        stage, usable, needed = short
        if usable <= 0:
            return self._refuse(Check.NO_KV_CACHE_MEMORY, "No available memory for the cache blocks", None, needed)
        longest = self._longest(stage, usable, length) if self.rules.estimates_max_len else 0
        hint = f"; the estimated maximum model length is {longest}" if longest else ""
        return self._refuse(
            Check.KV_CACHE_TOO_SMALL,
            f"one request of max_model_len {length} needs {format_gib(needed)} of KV cache, {format_gib(usable)} are available{hint}",
            longest or None,
            needed,
        )

    def _longest(self, stage: int, usable_bytes: int, upper: int) -> int:
        """The longest request up to `upper` that fits the stage; 0 when one token does not (vLLM bisects too)."""
        if self.rules.checks_by_group:
            return _longest_within(usable_bytes // self.kv_block_bytes[stage], self._checked_blocks, upper, self.block_size)
        return _longest_within(usable_bytes, lambda length: self._layers_need(stage, length), upper, self.block_size)

    def fitting_max_model_len(self, available_bytes: tuple[int, ...]) -> int:
        """The longest request that fits every stage, at most the model's own length; 0 when one token does not.

        What `--max-model-len auto` takes (vLLM: _auto_fit_max_model_len).
        """
        longest = self.max_model_len
        for stage, (available, size) in enumerate(zip(available_bytes, self.kv_block_bytes, strict=True)):
            if size:
                longest = min(longest, self._longest(stage, available - self._held_back * size, longest)) if longest else 0
        return longest

    def _refuse(self, reason: Check, message: str, longest: int | None, needed: int) -> KvRefusal:
        return KvRefusal(
            reason=reason,
            message=message,
            estimated_max_model_len=longest,
            block_size=self.block_size,
            kv_block_bytes=self.kv_block_bytes,
            needed_bytes=needed,
        )

    def _tokens(self, blocks: int, concurrency: float, length: int) -> int:
        """What vLLM logs as "GPU KV cache size": its meaning changed twice."""
        if self.rules.tokens == "concurrency":
            return int(concurrency * length)
        smallest = min(group.block_size for group in self.groups)
        if self.rules.tokens == "blocks_times_size":
            return blocks * smallest
        return blocks // len(self.groups) * smallest * self.reach.decode_context_parallel_size


def _longest_within(limit: int, needed: Callable[[int], int], upper: int, block: int) -> int:
    """The longest length up to `upper` that needs no more than `limit`; 0 where 1 does. `needed` never falls.

    First the whole block is tried where a need that grows evenly would meet the limit: of full attention it is the answer.
    """
    low, high = 0, upper
    guess = upper * max(0, limit) // max(1, needed(upper)) // block * block
    for length in (guess, guess + 1):
        if low < length <= high:
            low, high = (length, high) if needed(length) <= limit else (low, length - 1)
    return low + bisect_right(range(low + 1, high + 1), limit, key=needed)


_SIGHT: Final = Sight(
    unseen={
        "extrapolated": False, "quantization": None, "data_parallel_size": 1, "enable_expert_parallel": False, "max_model_len": 0,
        "max_num_seqs": 0, "max_num_batched_tokens": 0, "max_in_flight_tokens": 0, "max_cudagraph_capture_size": 0,
        "gpu_memory_utilization": 0.0, "enable_chunked_prefill": False, "enforce_eager": False, "uses_v2_model_runner": False,
        "async_scheduling": False, "runner": "generate", "nnodes": 1, "shares_experts": False, "cudagraph_mode": "full",
    },
    given=(
        "block_size", "mamba_cache_dtype", "mamba_ssm_cache_dtype", "speculative_method", "speculative_model_config",
        "attention_backend", "flash_attn_version", "flashinfer_installed",
    ),
)  # fmt: skip
"""What a layer keeps does not depend on batch sizes, budget or the card beyond its capability; nor, without state, on the length."""


class _Blocks(NamedTuple):
    """The part of a layout that all lengths and batch sizes share, as KvCacheLayout describes it."""

    block_size: int
    groups: tuple[KvGroup, ...]
    tables: tuple[tuple[KvGroup, int], ...]
    kv_block_bytes: tuple[int, ...]
    attention_backend: str
    has_state: bool
    counts_states: bool
    stage_layers: tuple[tuple[tuple[LayerSpec, int], ...], ...]
    encoder_tokens: int


def kv_cache_layout(shape: Shape, resolved: ResolvedArgs) -> KvCacheLayout:
    """Work out groups and bytes per block. Raises Unsupported for what has no rule, EngineRefusal where vLLM stops."""
    rules = rules_for(resolved.version)
    made = _blocks(shape, resolved, rules)
    if resolved.decode_context_parallel_size > 1:
        _check_context_parallel({spec.kind for group in made.groups for spec in group.specs}, len(made.groups), resolved.version, rules)
    if resolved.enable_prefix_caching and rules.mamba_mode_align and _keeps_last_states(made.groups):
        _check_last_states(made.block_size, resolved, rules)
    encoder_tokens = made.encoder_tokens
    if encoder_tokens and rules.cross_holds_a_batch:
        encoder_tokens = resolved.max_num_batched_tokens
    window_tokens = resolved.max_in_flight_tokens if rules.window_counts_in_flight else resolved.max_num_batched_tokens
    return KvCacheLayout(
        block_size=made.block_size,
        groups=made.groups,
        tables=made.tables,
        kv_block_bytes=made.kv_block_bytes,
        attention_backend=made.attention_backend,
        has_state=made.has_state,
        stage_layers=made.stage_layers,
        reach=Reach(
            window_tokens=window_tokens,
            decode_context_parallel_size=resolved.decode_context_parallel_size,
            encoder_tokens=encoder_tokens,
        ),
        max_model_len=resolved.max_model_len,
        max_num_seqs=resolved.max_num_seqs,
        captured_states=_captured_states(made, resolved, rules),
        rules=rules,
    )


def _captured_states(made: _Blocks, resolved: ResolvedArgs, rules: PlannerRules) -> int:
    """All sequences where whole graphs are captured, or, where kernels assert, the largest batch; with drafts they do not."""
    if not made.has_state or resolved.cudagraph_mode == "none" or rules.state_capture == "capped":
        return 0
    if rules.state_capture == "refused":
        return resolved.max_num_seqs if resolved.cudagraph_mode == "full" else 0
    if not made.counts_states or resolved.num_speculative_tokens:
        return 0
    return largest_capture(min(resolved.max_num_seqs, resolved.max_cudagraph_capture_size))


def _blocks(shape: Shape, resolved: ResolvedArgs, rules: PlannerRules) -> _Blocks:
    if resolved.given.limit_mm_per_prompt is not None:  # a mapping: cannot be remembered by
        return _made(shape, resolved, rules, model_needs(shape, resolved, rules))
    seen = _SIGHT.key(resolved)
    _, needs = _needs(shape, seen)
    return _remembered(shape, seen, resolved.max_model_len if needs.state is not None else 0)


@kept_with_config
def _needs(shape: Shape, seen: tuple[object, ...]) -> tuple[ResolvedArgs, ModelNeeds]:
    """What is seen, as arguments, and the needs. A search asks for the same layout on many cards and at many lengths."""
    resolved = _SIGHT.resolved(seen)
    return resolved, model_needs(shape, resolved, rules_for(resolved.version))


@kept_with_config
def _remembered(shape: Shape, seen: tuple[object, ...], max_model_len: int) -> _Blocks:
    resolved, needs = _needs(shape, seen)
    if max_model_len:
        resolved = _SIGHT.resolved(seen, max_model_len)
    return _made(shape, resolved, rules_for(resolved.version), needs)


def _made(shape: Shape, resolved: ResolvedArgs, rules: PlannerRules, needs: ModelNeeds) -> _Blocks:
    stages = resolved.pipeline_parallel_size
    cache = model_cache(shape, resolved, rules, needs)
    groups = group_layers(cache.kinds, cache.order, stages, rules, packed=cache.packed, hybrid=resolved.hybrid_kv_cache_manager)
    by_layer: tuple[tuple[tuple[LayerSpec, int], ...], ...] = ()
    if not rules.checks_by_group:
        layers = [cache.kinds[number] for number in cache.order]
        by_layer = tuple(tuple(Counter(spec for at, spec in layers if at == stage).items()) for stage in range(stages))
    alike: dict[tuple[LayerSpec, ...], list[KvGroup]] = {}
    for group in groups:
        alike.setdefault(group.specs, []).append(group)
    return _Blocks(
        block_size=cache.block_size,
        groups=groups,
        tables=tuple((members[0], len(members)) for members in alike.values()),
        kv_block_bytes=tuple(max((group.stage_bytes[stage] for group in groups), default=0) for stage in range(stages)),
        attention_backend=cache.attention_backend,
        has_state=cache.has_state,
        counts_states=cache.counts_states,
        stage_layers=by_layer,
        encoder_tokens=cache.encoder_tokens,
    )


def _keeps_last_states(groups: tuple[KvGroup, ...]) -> bool:
    return any(spec.kind == "state" and spec.state_blocks for group in groups for spec in group.specs)


def _check_last_states(block_size: int, resolved: ResolvedArgs, rules: PlannerRules) -> None:
    """Where the last states are kept for prefixes, a chunk of a prompt holds a block (validate_block_size, 0.18 to 0.26)."""
    tokens = resolved.max_num_batched_tokens
    if rules.state_block_below_batch and block_size > tokens:
        raise EngineRefusal(
            Check.TOKENS_BELOW_STATE_BLOCK,
            f"In Mamba cache align mode, block_size ({block_size}) must be <= max_num_batched_tokens ({tokens}).",
        )


def _check_context_parallel(kinds: set[str], groups: int, version: EngineVersion, rules: PlannerRules) -> None:
    """Which caches decode context parallelism shards (vLLM v1/core/kv_cache_coordinator.py, single_type_kv_cache_manager.py).

    Full and latent attention in one group, as 0.25.1 and before say; windows never; recurrent state beside it in 0.32.0.
    """
    windows = kinds & {"sliding", "sliding_mla", "chunked", "ring"}
    if windows or (rules.state_context_parallel == "refused" and (groups > 1 or "state" in kinds)):
        raise EngineRefusal(
            Check.DECODE_CONTEXT_PARALLEL_UNSUPPORTED,
            f"vLLM {version} shards caches of full attention only, and this model keeps others beside them",
        )
    if "state" in kinds and rules.state_context_parallel == "unknown":
        raise Unsupported(Check.DECODE_CONTEXT_PARALLEL, f"whether vLLM {version} shards caches beside recurrent state is not known")


def plan_kv_cache(shape: Shape, resolved: ResolvedArgs, available_bytes: tuple[int, ...]) -> KvPlan | KvRefusal:
    """Plan the cache for `available_bytes` (one entry per pipeline stage), as vLLM of `resolved.version` does.

    Source: vLLM get_kv_cache_configs.
    """
    return plan_layout(kv_cache_layout(shape, resolved), resolved, available_bytes)


def plan_layout(layout: KvCacheLayout, resolved: ResolvedArgs, available_bytes: tuple[int, ...]) -> KvPlan | KvRefusal:
    """The plan of a layout as `resolved` asks for it: at its length, or with max_model_len -1 at the longest that fits."""
    length: int | None = None
    if resolved.given.max_model_len == -1 and layout.groups:
        length = layout.fitting_max_model_len(available_bytes)
        if length <= 0:
            return layout.refuse_auto_fit()
    return layout.plan(available_bytes, length)
