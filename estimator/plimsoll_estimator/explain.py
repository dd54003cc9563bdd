"""An estimate explained: every term as a formula with its numbers, its source, and the evidence of fitted constants.

Called by `plimsoll estimate --explain`. A formula is shown with numbers only where the numbers give the answer's figure; it never
works out a figure of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from plimsoll_estimator.config_overrides import overridden
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.overhead.activation import (
    compiles,
    encoder_outputs_bytes,
    forward_bytes,
    latent_workspace_bytes,
    logits_bytes,
    timed_bytes,
)
from plimsoll_estimator.overhead.communication import budgeted_before_bytes, non_torch_bytes
from plimsoll_estimator.overhead.constants import constant, table
from plimsoll_estimator.overhead.encoder import encoder_peak_bytes
from plimsoll_estimator.overhead.experts import expert_workspace_bytes
from plimsoll_estimator.overhead.graphs import capture_count
from plimsoll_estimator.overhead.persistent import persistent_bytes
from plimsoll_estimator.overhead.releases import overhead_rules
from plimsoll_estimator.overhead.sampler import sampler_of
from plimsoll_estimator.overhead.widths import Widths, language_alone, widths_of
from plimsoll_estimator.prepared import requested_bytes
from plimsoll_estimator.quantization.settings import fp8_blocks, weight_only
from plimsoll_estimator.resolved import Estimate, KvPlan, RankEstimate, ResolvedArgs
from plimsoll_estimator.shape import Shape
from plimsoll_estimator.units import round_up

_ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def explanation_lines(config: HfConfig, answer: Estimate) -> list[str]:
    """Every term as a formula with its numbers and source."""
    resolved = answer.resolved
    if resolved is None or not answer.ranks:
        return ["Nothing was worked out: the arguments were refused before any memory was added up."]
    config = overridden(config, resolved.given.hf_overrides)
    rank = answer.ranks[0]
    gpu, budget, shape = resolved.gpu, requested_bytes(resolved), shape_of(config)
    widths = widths_of(shape, text_only=language_alone(shape, resolved), weight_only=weight_only(config), fp8_blocks=fp8_blocks(config))
    lines = [
        f"How the figures of rank {rank.rank} come about (bytes):",
        f"  budget = ceil(total x gpu-memory-utilization) = "
        f"ceil({gpu.total_memory_bytes} x {resolved.gpu_memory_utilization:g}) = {budget}",
        "    source: vllm/v1/worker/utils.py:request_memory; total as CUDA reports it",
        *_weight_lines(shape, resolved, rank),
        *_activation_lines(widths, resolved, rank),
        *_graph_lines(resolved, rank),
        *_outside_torch_lines(widths, resolved, rank),
    ]
    left = budget - rank.weights_bytes - rank.activation_bytes - rank.cuda_graph_bytes - rank.non_torch_bytes
    if left == rank.available_kv_cache_bytes:
        lines.append(
            f"  KV cache = budget - weights - activation - graphs - non-torch = {budget} - {rank.weights_bytes} - "
            f"{rank.activation_bytes} - {rank.cuda_graph_bytes} - {rank.non_torch_bytes} = {left}"
        )
        lines.append("    source: vllm/v1/worker/gpu_worker.py:determine_available_memory")
    else:
        lines.append(f"  KV cache = {rank.available_kv_cache_bytes} (given, or set apart by the arguments)")
    plan = answer.kv_plan
    if plan is not None:
        lines += _cache_lines(shape, resolved, rank, plan)
    return [*lines, "  fitted constants that apply:", *_evidence_lines(resolved)]


def _weight_lines(shape: Shape, resolved: ResolvedArgs, rank: RankEstimate) -> Iterator[str]:
    size, vocabulary, hidden = _ELEMENT_BYTES.get(resolved.dtype, 2), shape.size.vocab_size, shape.size.hidden_size
    yield f"  weights = what {resolved.architecture} builds on this rank = {rank.weights_created_bytes}"
    table_bytes = round_up(vocabulary, 64) // resolved.tensor_parallel_size * hidden * size
    yield (
        f"    of it the embedding: ceil64({vocabulary}) / {resolved.tensor_parallel_size} x {hidden} x {size} = {table_bytes}; "
        f"the layers and the rest: {rank.weights_created_bytes - table_bytes}"
    )
    if rank.weights_bytes != rank.weights_created_bytes:
        added = rank.weights_bytes - rank.weights_created_bytes
        yield f"    loading adds {added} (repacking, padding, absorbed matrices): {rank.weights_bytes}"
    yield "    source: vLLM's layer classes (linear.py, vocab_parallel_embedding.py, fused_moe) and their partition rules"


def _activation_lines(widths: Widths, resolved: ResolvedArgs, rank: RankEstimate) -> Iterator[str]:
    last = resolved.pipeline_parallel_size == 1
    forward, sampler = forward_bytes(widths, resolved), logits_bytes(widths, resolved) if last else 0
    copies = timed_bytes(widths, resolved) if compiles(resolved) else 0
    kept = overhead_rules(resolved.version).keeps_timed_copies
    held = (
        ("expert workspaces", expert_workspace_bytes(widths, resolved)),
        ("latent context", latent_workspace_bytes(widths, resolved)),
        ("encoder outputs", encoder_outputs_bytes(widths, resolved)),
        ("copies timed while compiling", copies if kept else 0),
    )
    more = [(name, value) for name, value in held if value]
    encoder = encoder_peak_bytes(widths, resolved)
    if rank.activation_bytes == encoder:
        yield f"  activation = one block of the vision encoder for the largest image = {encoder}"
        yield "    source: v1/worker/gpu_model_runner.py:profile_run encodes before the language model runs"
        return
    if copies and not kept and rank.activation_bytes == copies:
        yield f"  activation = copies of the embedding and its LoRA slots, timed while compiling = {copies}"
        yield "    source: torch/_inductor/codegen/triton.py:benchmark_combo_kernel, before the forward pass"
        return
    if max(forward, sampler) + sum(value for _, value in more) != rank.activation_bytes:
        yield f"  activation = {rank.activation_bytes}"
        return
    names = "".join(f" + {name}" for name, _ in more)
    values = "".join(f" + {value}" for _, value in more)
    yield f"  activation = max(sampler, forward pass){names} = max({sampler}, {forward}){values} = {rank.activation_bytes}"
    rows, tokens = min(resolved.max_num_seqs, resolved.max_num_batched_tokens), resolved.max_num_batched_tokens
    size, factor = _ELEMENT_BYTES[resolved.dtype], constant("sampler_bytes_per_logit", resolved, sampler=sampler_of(resolved))
    if sampler:
        yield (
            f"    sampler = rows x vocabulary x ({factor:g} + {size}) + tokens x width x {size} = "
            f"{rows} x {widths.vocab_size} x {factor + size:g} + {tokens} x {widths.hidden_size} x {size}"
        )
    yield f"    forward pass = the widest phase of one layer for {tokens} tokens, x {constant('forward_factor', resolved):g}"


def _graph_lines(resolved: ResolvedArgs, rank: RankEstimate) -> Iterator[str]:
    count = capture_count(resolved.max_cudagraph_capture_size)
    yield (
        f"  CUDA graphs deducted = {rank.cuda_graph_bytes}; captured: {count} sizes up to {resolved.max_cudagraph_capture_size} "
        f"take {rank.cuda_graph_pool_bytes}"
    )
    yield "    source: the engine deducts its own estimate since 0.20; before, graphs live outside the budget"


def _outside_torch_lines(widths: Widths, resolved: ResolvedArgs, rank: RankEstimate) -> Iterator[str]:
    growth = non_torch_bytes(widths, resolved)
    buffers = persistent_bytes(widths, resolved, last=resolved.pipeline_parallel_size == 1)
    before = budgeted_before_bytes(resolved)
    if before and growth + before == rank.non_torch_bytes:
        yield f"  non-torch = growth + in use before the engine = {growth} + {before} = {rank.non_torch_bytes}"
        yield "    source: up to 0.9.0 the profile run counts all that is in use on the device (v1/worker/gpu_worker.py)"
    elif growth + buffers == rank.non_torch_bytes:
        yield f"  non-torch and buffers = growth + persistent buffers = {growth} + {buffers} = {rank.non_torch_bytes}"
    else:
        yield f"  non-torch and buffers = {rank.non_torch_bytes}"
    runner = "V2 runner: sampler state on the GPU" if resolved.uses_v2_model_runner else "V1 runner: sampler state on the host"
    yield f"    source: collectives over {resolved.gpu.interconnect} and kernels at first use (fitted); {runner}"


def _cache_lines(shape: Shape, resolved: ResolvedArgs, rank: RankEstimate, plan: KvPlan) -> Iterator[str]:
    block = plan.kv_block_bytes[0] if plan.kv_block_bytes else 0
    layers, heads, head_dim = len(shape.layers), shape.size.kv_heads, shape.size.head_dim
    formula = "the largest KV group's pages"
    if heads and resolved.pipeline_parallel_size == 1:
        mine = max(1, heads // resolved.tensor_parallel_size)
        for size in (2, 1):
            if 2 * layers * plan.block_size * mine * head_dim * size == block:
                formula = f"2 x {layers} layers x {plan.block_size} tokens x {mine} KV heads x {head_dim} x {size}"
    yield f"  bytes per KV block = {formula} = {block}"
    if block:
        pool = rank.available_kv_cache_bytes
        yield f"  blocks = floor({pool} / {block}) = {pool // block}, least over ranks {plan.num_gpu_blocks}"
    yield (
        f"  concurrency = blocks / blocks of one request of {plan.max_model_len} tokens = {plan.max_concurrency:.4f}; "
        f"tokens = {plan.kv_cache_tokens}"
    )
    yield "    source: vLLM's KV-cache planning (v1/core/kv_cache_utils.py; kv_cache_planning.py from 0.30)"


def _evidence_lines(resolved: ResolvedArgs) -> Iterator[str]:
    for name, rows in table().items():
        value = constant(name, resolved)
        evidence = next((str(row["evidence"]) for row in reversed(rows) if row["value"] == value), "")
        yield f"    {name} = {value:g}  ({evidence})"
