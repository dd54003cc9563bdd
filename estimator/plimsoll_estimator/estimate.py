"""One estimate: resolve the arguments, add up weights and overheads against the budget, plan the KV cache, judge.

Called by every door (CLI, batch, webhook, controller). Expected refusals are values; InvalidInput and Unsupported are raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plimsoll_estimator.checks import Check
from plimsoll_estimator.config_overrides import overridden
from plimsoll_estimator.connectors import role_of
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import NEWEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Remedy, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import kept_with_config
from plimsoll_estimator.kv_cache import KvCacheLayout, kv_cache_layout
from plimsoll_estimator.layers.backends import takes_flex_attention
from plimsoll_estimator.layers.planner_rules import rules_for
from plimsoll_estimator.models.register import read
from plimsoll_estimator.objects import by_object
from plimsoll_estimator.overhead import Widths, host_memory, language_alone, outside_budget, stage_overheads, widths_of
from plimsoll_estimator.overhead.activation import open_peak, unprofiled_bytes
from plimsoll_estimator.overhead.adapters import resident_weights
from plimsoll_estimator.overhead.startup import Refusal
from plimsoll_estimator.prepared import Prepared
from plimsoll_estimator.quantization.settings import fp8_blocks, weight_only
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.resolved import Estimate, Gpu, OutsideBudget, RankWeights, ResolvedArgs
from plimsoll_estimator.shape import Shape
from plimsoll_estimator.units import format_gib
from plimsoll_estimator.weights import draft_weights_bytes, weights_per_stage


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTotals:
    """Totals of a checkpoint's safetensors headers, in bytes, by dtype name as the headers spell it, sorted by it."""

    total_bytes: int
    bytes_by_dtype: tuple[tuple[str, int], ...] = ()


def estimate(
    config: HfConfig,
    args: EngineArgs,
    gpu: Gpu,
    version: EngineVersion,
    *,
    weights: WeightTotals | None = None,
    available_kv_cache_bytes: int | None = None,
) -> Estimate:
    """The whole answer for one replica on one GPU type.

    `available_kv_cache_bytes` replaces the predicted pool on every rank; then only argument checks and planning judge.
    Raises InvalidInput (bad values) and Unsupported (no rule). A refusal keeps every figure worked out before it.
    """
    found = prepare(config, args, gpu, version, weights=weights)
    return found if isinstance(found, Estimate) else found.estimate(available_kv_cache_bytes=available_kv_cache_bytes)


def prepare(
    config: HfConfig, args: EngineArgs, gpu: Gpu, version: EngineVersion, *, weights: WeightTotals | None = None
) -> Prepared | Estimate:
    """All of an estimate that the budget does not change; vLLM's refusal where it stops before sizes are known. Raises as `estimate`.

    What a refusal or a missing rule advises has been tried: it starts, or at least lacks nothing but memory.
    """
    config = overridden(config, args.hf_overrides)
    start = _Start(config, args, gpu, version)
    try:
        return _prepare(start, start.advised, weights)
    except Unsupported as doubt:
        if doubt.remedies:
            raise Unsupported(doubt.reason, start.advised(doubt)) from doubt
        raise


@dataclass(frozen=True, slots=True)
class _Start:
    """What is asked, so that it can be tried with something otherwise."""

    config: HfConfig
    args: EngineArgs
    gpu: Gpu
    version: EngineVersion

    def advised(self, refusal: EngineRefusal | Unsupported) -> str:
        """The sentence with the first of its remedies that works, if any does."""
        remedy = next(filter(self.works, refusal.remedies), None)
        return str(refusal) if remedy is None else f"{refusal}; {remedy.words}"

    def works(self, remedy: Remedy) -> bool:
        """Whether the start comes as far as its memory with the remedy."""
        changed: dict[str, Any] = {remedy.argument: remedy.value} if remedy.argument else {}
        args = replace(self.args, **changed)
        version = EngineVersion.parse(remedy.release) if remedy.release else self.version
        try:
            found = _prepare(_Start(self.config, args, self.gpu, version), str)
        except (Unsupported, InvalidInput):
            return False
        judged = found if isinstance(found, Estimate) else found.estimate()
        return judged.reason is None or judged.reason.of_memory


def _prepare(start: _Start, said: Callable[[EngineRefusal], str], weights: WeightTotals | None = None) -> Prepared | Estimate:
    """The same, a refusal worded by `said`."""
    config, args, gpu, version = start.config, start.args, start.gpu, start.version
    try:
        resolved = resolve(config, args, gpu, version)
    except EngineRefusal as refusal:
        return _refused(refusal.reason, said(refusal), None)
    try:
        stages = weights_per_stage(config, resolved)
        drafted = draft_weights_bytes(resolved)
    except EngineRefusal as refusal:
        return _refused(refusal.reason, said(refusal), resolved)
    shape = read(config, resolved.architecture)
    widths = widths_of(shape, text_only=language_alone(shape, resolved), weight_only=weight_only(config), fp8_blocks=fp8_blocks(config))
    stages = tuple(resident_weights(stage, widths, resolved) for stage in stages)
    if drafted:
        stages = (*stages[:-1], replace(stages[-1], loaded_bytes=stages[-1].loaded_bytes + drafted))
    overheads = stage_overheads(widths, resolved)
    beside = unprofiled_bytes(widths, resolved)
    outside = [outside_budget(resolved, overhead) for overhead in by_object(overheads).values()]
    layout = _layout(shape, resolved, said)
    return Prepared(
        resolved=resolved,
        widths=widths,
        stages=stages,
        overheads=overheads,
        layout=layout,
        generates_without_cache=_generates_without_cache(shape, resolved),
        outside_budget=_with(max(outside, key=lambda one: one.post_kv_bytes), beside),
        host_memory=host_memory(
            widths,
            resolved,
            weights.total_bytes if weights is not None else None,
            max(stage.loaded_bytes for stage in stages),
            read_bytes(config, gpu, version, weights) if args.loader_buffer_bytes else None,
        ),
        warnings=(*_warnings(resolved, stages, weights), *_warnings_of_towers(widths, resolved), *_warnings_of_blocks(resolved)),
    )


def read_bytes(config: HfConfig, gpu: Gpu, version: EngineVersion, weights: WeightTotals | None = None) -> int | None:
    """The checkpoint's files: the totals of their headers, else the model as published on one rank; None where that has no rule.

    Nobody's arguments count: weights that vLLM quantises or cuts as it loads them lie on the disk as they were published.
    """
    return weights.total_bytes if weights is not None and weights.total_bytes else _published_bytes(config, gpu, version)


@kept_with_config
def _published_bytes(config: HfConfig, gpu: Gpu, version: EngineVersion) -> int | None:
    stated = next((text for level in (config, config.text) if (text := level.str_or_none("dtype", "torch_dtype"))), None)
    # vLLM loads fp32 checkpoints in half precision unless told otherwise.
    args = EngineArgs(dtype="float32") if stated == "float32" else EngineArgs()
    try:
        built = _prepare(_Start(config, args, gpu, version), str)
    except (Unsupported, InvalidInput):
        return None
    return None if isinstance(built, Estimate) else sum(stage.loaded_bytes for stage in built.stages)


def _with(outside: OutsideBudget, beside: int) -> OutsideBudget:
    return replace(outside, post_kv_bytes=outside.post_kv_bytes + beside)


def _layout(shape: Shape, resolved: ResolvedArgs, said: Callable[[EngineRefusal], str]) -> KvCacheLayout | Refusal:
    try:
        return kv_cache_layout(shape, resolved)
    except EngineRefusal as refusal:
        return Refusal(reason=refusal.reason, message=said(refusal))


def _generates_without_cache(shape: Shape, resolved: ResolvedArgs) -> bool:
    """A bidirectional decoder run as a generator: vLLM's planner of 0.19.1 and 0.25.1 stops on its empty list of caches."""
    both_ways = shape.attends_both_ways and not shape.encoder_only
    return both_ways and resolved.runner == "generate" and not rules_for(resolved.version).plans_empty_caches


def _refused(reason: Check, message: str, resolved: ResolvedArgs | None) -> Estimate:
    return Estimate(
        verdict="refused",
        reason=reason,
        message=message,
        ranks=(),
        resolved=resolved,
        kv_plan=None,
        block_size=None,
        estimated_max_model_len=None,
        available_kv_cache_interval_bytes=None,
        outside_budget=None,
        needed_kv_cache_bytes=None,
        host_memory_bytes=None,
        host_memory_at_most_bytes=None,
    )


def _warnings_of_towers(widths: Widths, resolved: ResolvedArgs) -> Sequence[str]:
    """A tower whose largest image no rule tells: its outputs are counted, its own pass in the profile run only in the interval."""
    beyond = open_peak(widths, resolved).encoder if widths.tower is None or widths.tower.guessed else 0
    if not beyond:
        return ()
    largest = "with layers as wide as those of the widest that is" if widths.tower is None else "with an image as large as Qwen's"
    return (
        f"what the encoder of {resolved.architecture} takes in the profile run is not known: {largest} "
        f"{format_gib(beyond)} more than is counted, and the interval reaches that far down",
    )


def _warnings_of_blocks(resolved: ResolvedArgs) -> Sequence[str]:
    """Blocks that only FlexAttention has: the cache is the same, what its kernels take beside it was never measured."""
    block = resolved.given.block_size
    if not takes_flex_attention(block, resolved.gpu.capability, resolved.version):
        return ()
    return (
        f"blocks of {block} tokens may make vLLM {resolved.version} take FlexAttention, whose memory is not known: use a multiple of 16",
    )


def _warnings(resolved: ResolvedArgs, stages: Sequence[RankWeights], weights: WeightTotals | None) -> list[str]:
    found = []
    if resolved.extrapolated:
        found.append(f"vLLM {resolved.version} is newer than {NEWEST_KNOWN}: extrapolated, intervals doubled")
    if resolved.given.unruled:
        found.append("arguments without a rule were let through: intervals doubled, judged at the pessimistic end")
    if resolved.given.kv_transfer_config and (line := _role(resolved.given.kv_transfer_config)):
        found.append(line)
    if resolved.given.enable_chunked_prefill is False and resolved.enable_chunked_prefill:
        found.append(f"vLLM {resolved.version} chunks the prompts of a generator even where chunked prefill is switched off")
    if not resolved.gpu.total_is_exact:
        found.append(f"the memory of {resolved.gpu.product} is taken from its label, on the low side")
    if weights is not None and weights.total_bytes:
        created = resolved.tensor_parallel_size * resolved.data_parallel_size * sum(stage.created_bytes for stage in stages)
        single = resolved.tensor_parallel_size == resolved.pipeline_parallel_size == resolved.data_parallel_size == 1
        if created < 0.98 * weights.total_bytes or (single and created > 1.02 * weights.total_bytes):
            stated, built = format_gib(weights.total_bytes), format_gib(created)
            found.append(f"the checkpoint's headers add up to {stated}, the model as built to {built} on all ranks")
    return found


def _role(config: Mapping[str, Any]) -> str:
    """Which half of a pair an engine is: the other is a deployment of its own."""
    role = role_of(config)
    if role == "kv_producer":
        return (
            "kv_role kv_producer: this engine answers prompts for others to go on with; the engines that decode are planned by themselves"
        )
    if role == "kv_consumer":
        return "kv_role kv_consumer: this engine goes on with prompts that others have answered; those are planned by themselves"
    return ""


def weight_totals(data: Mapping[str, Any]) -> WeightTotals:
    """Parse the batch contract's `weights`. Raises InvalidInput naming the key."""
    total = data.get("total_bytes")
    if isinstance(total, bool) or not isinstance(total, int) or not 0 <= total <= 1 << 50:
        raise InvalidInput("weights.total_bytes", total, "must be a whole number of bytes")
    by_dtype = data.get("bytes_by_dtype") or {}
    if not isinstance(by_dtype, Mapping):
        raise InvalidInput("weights.bytes_by_dtype", by_dtype, "must be an object")
    parsed: dict[str, int] = {}
    for key, value in by_dtype.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1 << 50:
            raise InvalidInput(f"weights.bytes_by_dtype.{key}", value, "must be a whole number of bytes")
        parsed[str(key)] = value
    return WeightTotals(total_bytes=total, bytes_by_dtype=tuple(sorted(parsed.items())))
