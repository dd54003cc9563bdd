"""What `plimsoll estimate` prints for people: the table, the comparison of layouts, the rule of thumb.

Called by cli.estimate with answers of the estimator; works out nothing that the answer does not hold.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Iterable, Iterator

from plimsoll_estimator import (
    GIB,
    EngineArgs,
    Estimate,
    EstimatorError,
    Gpu,
    HfConfig,
    RankEstimate,
    ResolvedArgs,
    checkpoint_bytes,
    covered_percent,
    format_gib,
    load_times,
    quick,
    requested_bytes,
)
from plimsoll_operator.cli.bars import bar_rows
from plimsoll_operator.cli.screen import Screen

WIDTH = 100
_PIPE = Screen()
_TENSOR_SIZES = (1, 2, 4, 8)
_PIPELINE_SIZES = (1, 2)


def wrapped(lines: Iterable[str]) -> Iterator[str]:
    """Lines of at most WIDTH columns; what goes on is indented further. Words are never cut."""
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if len(line) <= WIDTH:
            yield line
        else:
            yield from textwrap.wrap(
                line, WIDTH, subsequent_indent=" " * (indent + 6), break_long_words=False, break_on_hyphens=False, drop_whitespace=True
            )


def table_lines(name: str, answer: Estimate, screen: Screen = _PIPE) -> list[str]:
    """The answer as a table: resolved arguments, bytes per rank (on a terminal with a bar), the cache, host memory and load time."""
    lines = [f"{name}: {answer.verdict}" + (f" ({answer.reason})" if answer.reason else "")]
    if answer.message:
        lines.append(f"  {answer.message}")
    resolved = answer.resolved
    if resolved is None:
        return lines
    lines += [f"  {text}" for text in _resolved_lines(resolved)]
    if answer.ranks:
        lines += ["", *_rank_table(answer, resolved), *_bar(answer, resolved, screen)]
    plan = answer.kv_plan
    if plan is not None:
        lines += [
            "",
            f"KV cache: {plan.kv_cache_tokens} tokens in {plan.num_gpu_blocks} blocks of {plan.block_size}; "
            f"{plan.max_concurrency:.2f} requests of {plan.max_model_len} tokens at once",
        ]
    if answer.estimated_max_model_len is not None:
        lines.append(f"Largest --max-model-len that starts: {answer.estimated_max_model_len}")
    interval = answer.available_kv_cache_interval_bytes
    if interval is not None and interval[1] > 0:
        lines.append(f"{covered_percent()} % of real starts: KV cache of {format_gib(max(0, interval[0]))} to {format_gib(interval[1])}")
    lines += _host_lines(answer, resolved)
    return lines + [f"warning: {text}" for text in answer.warnings]


def _resolved_lines(resolved: ResolvedArgs) -> Iterator[str]:
    gpu, how = resolved.gpu, " (extrapolated)" if resolved.extrapolated else ""
    yield f"vLLM {resolved.version}{how} on {gpu.product}, {format_gib(gpu.total_memory_bytes)}"
    layout = f"tensor parallel {resolved.tensor_parallel_size}, pipeline parallel {resolved.pipeline_parallel_size}"
    if resolved.data_parallel_size > 1:
        layout += f", data parallel {resolved.data_parallel_size}"
    yield layout + (", expert parallel" if resolved.enable_expert_parallel else "")
    yield (
        f"dtype {resolved.dtype}, quantization {resolved.quantization or 'none'}, KV cache {resolved.kv_cache_dtype}, "
        f"max-model-len {resolved.max_model_len}, max-num-seqs {resolved.max_num_seqs}, "
        f"max-num-batched-tokens {resolved.max_num_batched_tokens}, gpu-memory-utilization {resolved.gpu_memory_utilization:g}"
    )


def _components(rank: RankEstimate, budget: int) -> tuple[tuple[str, int], ...]:
    return (
        ("budget", budget),
        ("weights", rank.weights_bytes),
        ("activation", rank.activation_bytes),
        ("CUDA graphs (deducted)", rank.cuda_graph_bytes),
        ("non-torch and buffers", rank.non_torch_bytes),
        ("KV cache", rank.available_kv_cache_bytes),
        ("CUDA graphs (captured)", rank.cuda_graph_pool_bytes),
    )


def _rank_table(answer: Estimate, resolved: ResolvedArgs) -> Iterator[str]:
    budget = requested_bytes(resolved)
    columns = [_components(rank, budget) for rank in answer.ranks]
    heads = [f"rank {r.rank}" if r.count == 1 else f"ranks {r.rank}-{r.rank + r.count - 1}" for r in answer.ranks]
    yield f"{'per GPU':<24}" + "".join(f"{head:>14}" for head in heads)
    for row, (label, _) in enumerate(columns[0]):
        yield f"{label:<24}" + "".join(f"{format_gib(column[row][1]):>14}" for column in columns)


def _bar(answer: Estimate, resolved: ResolvedArgs, screen: Screen) -> list[str]:
    """The budget and what is left of the GPU; graphs are inside of the budget only as far as they are deducted from it."""
    rank = min(answer.ranks, key=lambda rank: rank.available_kv_cache_bytes)
    engine = rank.activation_bytes + rank.cuda_graph_bytes + rank.non_torch_bytes
    parts = (rank.weights_bytes, engine, max(0, rank.available_kv_cache_bytes))
    return [f"{label:<24}{value}" for label, value in bar_rows(parts, resolved.gpu.total_memory_bytes, screen)]


def _host_lines(answer: Estimate, resolved: ResolvedArgs) -> list[str]:
    lines = [""]
    if answer.host_memory_bytes is not None:
        most = f", at most {format_gib(answer.host_memory_at_most_bytes)}" if answer.host_memory_at_most_bytes is not None else ""
        lines.append(f"Host memory of a pod: {format_gib(answer.host_memory_bytes)}{most} while loading, without the page cache")
    if answer.ranks:
        read = checkpoint_bytes(tuple(rank.weights_created_bytes for rank in answer.ranks), answer.ranks[0].count)
        times = load_times(read, enforce_eager=resolved.enforce_eager)
        ranges = ", ".join(f"{t.storage} {t.at_best_seconds}-{t.at_worst_seconds} s" for t in times)
        lines.append(f"Start after image pull ({format_gib(read)} to read): {ranges}")
    return lines


def comparison_lines(ask: Callable[[EngineArgs], Estimate], config: HfConfig, args: EngineArgs) -> list[str]:
    """The same question under other tensor, pipeline and expert parallel sizes; layouts that vLLM refuses say why."""
    text = config.text
    expert_choices = (
        (False, True) if any(text.int_or_none(key) for key in ("num_experts", "num_local_experts", "n_routed_experts")) else (False,)
    )
    lines = ["  TP  PP  EP  GPUs  weights/GPU    KV cache/GPU   KV tokens  concurrency"]
    for pipeline in _PIPELINE_SIZES:
        for tensor in _TENSOR_SIZES:
            for experts in expert_choices:
                if experts and tensor == 1:
                    continue
                layout = dataclasses.replace(
                    args, tensor_parallel_size=tensor, pipeline_parallel_size=pipeline, enable_expert_parallel=experts or None
                )
                head = f"{tensor:>4}{pipeline:>4}{'yes' if experts else 'no':>4}{tensor * pipeline * (args.data_parallel_size or 1):>6}"
                lines.append(head + _comparison(ask, layout))
    return lines


def _comparison(ask: Callable[[EngineArgs], Estimate], layout: EngineArgs) -> str:
    try:
        answer = ask(layout)
    except EstimatorError as error:
        return f"  {error}"
    if not answer.ranks:
        return f"  {answer.reason}: {answer.message}"
    fullest = min(answer.ranks, key=lambda rank: rank.available_kv_cache_bytes)
    figures = f"{format_gib(fullest.weights_bytes):>13}{format_gib(fullest.available_kv_cache_bytes):>16}"
    plan = answer.kv_plan
    if plan is None:
        return f"{figures}  {answer.reason}"
    return f"{figures}{plan.kv_cache_tokens:>12}{plan.max_concurrency:>13.2f}"


def quick_lines(answer: quick.QuickEstimate, gpu: Gpu | None) -> list[str]:
    """The rule of thumb, labelled so."""
    lines = [
        "RULE OF THUMB, pessimistic, not what vLLM does: use --model or --config for an estimate",
        f"  parameters      {answer.parameters / 1e9:.2f} B",
        *(
            f"  {label:<15} {value / 1e9:9.2f} GB  {value / GIB:9.2f} GiB"
            for label, value in (
                ("weights", answer.weights_bytes),
                ("KV cache", answer.kv_cache_bytes),
                ("everything else", answer.overhead_bytes),
                ("total", answer.total_bytes),
            )
        ),
        *(f"  assumes {text}" for text in answer.assumptions),
    ]
    if gpu is not None:
        count = quick.gpus_needed(answer.total_bytes, gpu.total_memory_bytes)
        lines.append(f"  {count} x {gpu.product} ({format_gib(gpu.total_memory_bytes)} each, nine tenths of it used)")
    return lines
