"""Writes docs/prediction.md: one prediction, term by term, for people. Every figure is the estimator's, or worked out here and equal to it.

    python -m tools.prediction_page [OUT]

The weights are added up from the model's config a second time, by hand as a reader would; where that and the estimator differ the page
is not written.
"""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from plimsoll_estimator import (
    GIB,
    EngineArgs,
    EngineVersion,
    Estimate,
    RankEstimate,
    catalogue,
    covered_percent,
    explanation_lines,
    gpu_from,
    known_gpus,
    prepare,
)
from plimsoll_estimator.resolved import KvPlan

ROOT: Final = Path(__file__).parents[1]
DEFAULT_OUT: Final = ROOT / "docs" / "prediction.md"
MODEL: Final = "meta-llama/Llama-3.1-8B-Instruct"
GPU: Final = "NVIDIA-L4"
LABEL_MIB: Final = 23034
RELEASE: Final = "0.33.0"
CONTEXT: Final = 16384
ARGS: Final = EngineArgs(max_model_len=CONTEXT)
ALTERNATIVES: Final = (
    ("as above", ARGS),
    ("context of 8192", replace(ARGS, max_model_len=8192)),
    ("context of 32768", replace(ARGS, max_model_len=32768)),
    ("cache in fp8 (`--kv-cache-dtype fp8`)", replace(ARGS, kv_cache_dtype="fp8")),
    ("64 sequences (`--max-num-seqs 64`)", replace(ARGS, max_num_seqs=64)),
    ("no CUDA graphs (`--enforce-eager`)", replace(ARGS, enforce_eager=True)),
    ("two GPUs (`--tensor-parallel-size 2`)", replace(ARGS, tensor_parallel_size=2)),
)


def gib(count: int) -> str:
    """Bytes for a table."""
    return f"{count / GIB:.2f}"


def whole(count: int) -> str:
    """A number with its thousands apart."""
    return f"{count:,}"


def estimated(args: EngineArgs) -> Estimate:
    """What vLLM would do with the model on the GPU."""
    entry = catalogue.entry(MODEL)
    if entry is None:
        raise SystemExit(f"{MODEL} is not in the catalogue")
    gpu = gpu_from(GPU, None, None, None, None, None)
    found = prepare(entry.config, args, gpu, EngineVersion.parse(RELEASE))
    return found if isinstance(found, Estimate) else found.estimate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The dimensions of the config that the page reckons with."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    positions: int

    @classmethod
    def read(cls) -> Shape:
        """As config.json has them."""
        entry = catalogue.entry(MODEL)
        if entry is None:
            raise SystemExit(f"{MODEL} is not in the catalogue")
        config = entry.config.as_mapping()
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        return cls(
            hidden=hidden,
            intermediate=int(config["intermediate_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config["num_key_value_heads"]),
            head=int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            positions=int(config["max_position_embeddings"]),
        )


def weights(shape: Shape, all_bytes: int) -> list[tuple[str, str, int]]:
    """What the weights consist of: part, arithmetic, bytes. Two bytes each; the sum is the estimator's, or there is no page."""
    s, h = shape, shape.hidden
    parts = [
        ("embedding", f"{s.vocabulary} x {h}", s.vocabulary * h),
        (
            "query, key and value",
            f"{s.layers} x {h} x ({s.heads} + 2 x {s.kv_heads}) x {s.head}",
            s.layers * h * (s.heads + 2 * s.kv_heads) * s.head,
        ),
        ("attention's output", f"{s.layers} x {s.heads} x {s.head} x {h}", s.layers * s.heads * s.head * h),
        ("gate, up and down", f"{s.layers} x 3 x {h} x {s.intermediate}", s.layers * 3 * h * s.intermediate),
        ("norms", f"({s.layers} x 2 + 1) x {h}", (s.layers * 2 + 1) * h),
        ("head", f"{s.vocabulary} x {h}", s.vocabulary * h),
        ("table of the rotary embedding", f"{s.positions} x {s.head}", s.positions * s.head),
    ]
    rows = [(part, f"{text} x 2", 2 * count) for part, text, count in parts]
    rest = all_bytes - sum(count for _, _, count in rows)
    if not 0 <= rest < 1 << 20:
        raise SystemExit(f"the page adds the weights up to {rest} bytes less than the estimator: mend the page")
    return [*rows, ("what PyTorch's allocator counts beside the tensors", "", rest)]


def alternative(name: str, args: EngineArgs) -> str:
    """One row of what would change."""
    answer = estimated(args)
    (rank,) = {(one.weights_bytes, one.available_kv_cache_bytes): one for one in answer.ranks}.values()
    plan = answer.kv_plan
    starts = (
        f"{plan.kv_cache_tokens} tokens, {plan.max_concurrency:.2f} requests" if plan and answer.verdict == "starts" else "does not start"
    )
    beside = rank.activation_bytes + rank.cuda_graph_bytes + rank.non_torch_bytes
    return f"| {name} | {gib(rank.weights_bytes)} | {gib(beside)} | {gib(max(rank.available_kv_cache_bytes, 0))} | {starts} |"


def explained(answer: Estimate, start: str) -> str:
    """The line of `--explain` that begins so, without its beginning."""
    entry = catalogue.entry(MODEL)
    if entry is None:
        raise SystemExit(f"{MODEL} is not in the catalogue")
    return next(line.strip() for line in explanation_lines(entry.config, answer) if line.strip().startswith(start))


def page() -> str:
    """The whole page."""
    answer, shape = estimated(ARGS), Shape.read()
    (rank,) = answer.ranks
    resolved, plan = answer.resolved, answer.kv_plan
    if resolved is None or plan is None or answer.available_kv_cache_interval_bytes is None or answer.outside_budget is None:
        raise SystemExit("the example does not start: choose another")
    total = resolved.gpu.total_memory_bytes
    budget = -(-total * round(resolved.gpu_memory_utilization * 100) // 100)
    used = rank.weights_bytes + rank.activation_bytes + rank.cuda_graph_bytes + rank.non_torch_bytes
    per_token = 2 * shape.layers * shape.kv_heads * shape.head * 2
    if budget - used != rank.available_kv_cache_bytes or per_token * plan.block_size != rank.kv_block_bytes:
        raise SystemExit("the page's arithmetic is not the estimator's: mend the page")
    return (
        "\n\n".join(
            [
                *_opening(answer, rank, budget),
                *_budget(total, budget, resolved.gpu_memory_utilization),
                *_weights(shape, rank.weights_bytes),
                *_beside(answer, rank),
                *_cache(shape, plan, rank, per_token),
                *_doubt(answer, per_token * CONTEXT),
                *_changes(),
            ]
        )
        + "\n"
    )


def prose(*sentences: str) -> str:
    """A paragraph in lines of a page."""
    return textwrap.fill(" ".join(sentences), 140, break_long_words=False, break_on_hyphens=False)


def _opening(answer: Estimate, rank: RankEstimate, budget: int) -> list[str]:
    rows = [
        ("weights", rank.weights_bytes, "the model's parameters, once"),
        ("activation", rank.activation_bytes, "the largest step that vLLM tries out at its start"),
        ("CUDA graphs", rank.cuda_graph_bytes, "recorded steps, which save launches"),
        ("non-torch and buffers", rank.non_torch_bytes, "libraries, and what the engine keeps per sequence"),
        ("KV cache", rank.available_kv_cache_bytes, "what is left: it holds the requests"),
    ]
    table = ["| term | GiB | what |", "|---|---|---|", *(f"| {name} | {gib(count)} | {what} |" for name, count, what in rows)]
    table.append(f"| **budget** | **{gib(budget)}** | the part of the GPU that vLLM may take |")
    command = f"plimsoll estimate --model {MODEL} --gpu {GPU} --engine-version {RELEASE} --max-model-len {CONTEXT} --explain"
    return [
        f"# Why {budget / GIB:.1f} GiB?",
        prose(
            f"One prediction, term by term: {MODEL} on one {GPU} under vLLM {RELEASE},",
            f"with a context of {CONTEXT} tokens and vLLM's own defaults. The figures are the estimator's;",
            "`python -m tools.prediction_page` writes them here, and a test holds that they are today's.",
        ),
        f"```sh\n{command}\n```",
        "\n".join(table),
        prose(
            f"It starts, and the cache holds {whole(answer.kv_plan.kv_cache_tokens) if answer.kv_plan else 'no'} tokens.",
            "[Formulas](formulas.md) has the rules for every model; this page follows one. House words are in the [glossary](words.md).",
        ),
    ]


def _budget(total: int, budget: int, utilization: float) -> list[str]:
    if f"label {LABEL_MIB} MiB" not in known_gpus()[GPU].evidence:
        raise SystemExit(f"the table has another label for {GPU}: mend the page")
    return [
        "## The budget",
        prose(
            f"The card is sold as 24 GB. The driver calls it {LABEL_MIB} MiB (the label `nvidia.com/gpu.memory`), and CUDA shows a process",
            f"{gib(total)} GiB: that last figure counts.",
            f"vLLM takes `--gpu-memory-utilization` of it, {utilization:g} by default in this release:",
        ),
        f"    {whole(total)} x {utilization:g} = {whole(budget)} bytes = {gib(budget)} GiB",
        prose(
            "The rest is for what lives outside the budget: CUDA's own context, taken before vLLM measures, and graphs beyond those",
            "that it has counted.",
            "When Plimsoll plans, it chooses the largest share that surely leaves room for these, instead of the default.",
        ),
    ]


def _weights(shape: Shape, all_bytes: int) -> list[str]:
    rows = weights(shape, all_bytes)
    table = [
        "| part | elements x bytes | bytes |",
        "|---|---|---|",
        *(f"| {part} | {text} | {whole(count)} |" for part, text, count in rows),
    ]
    table.append(f"| **sum** | | **{whole(all_bytes)}** |")
    return [
        "## Weights",
        prose(
            f"`config.json` says {shape.layers} layers, a width of {shape.hidden}, {shape.intermediate} between gate and down,",
            f"{shape.heads} heads and {shape.kv_heads} KV heads of {shape.head}, and {shape.vocabulary} words.",
            "Parameters are bfloat16, two bytes each.",
        ),
        "\n".join(table),
        f'That is {gib(all_bytes)} GiB, and exact: it is what vLLM logs as "Model loading took".',
    ]


def _beside(answer: Estimate, rank: RankEstimate) -> list[str]:
    return [
        "## What the engine takes beside them",
        prose(
            f"**Activation**, {gib(rank.activation_bytes)} GiB. At its start vLLM runs the largest step that it will ever run and notes",
            "the peak. `--explain` says:",
        ),
        f"    {explained(answer, 'activation =')}\n    {explained(answer, 'sampler =')}",
        prose(
            "The sampler works on one row of the whole vocabulary for each sequence, the forward pass on the tokens of one step.",
            "A first start compiles,",
            "and then times kernels on a copy of the embedding; one that finds its compiled graphs on a volume does not.",
        ),
        f"**CUDA graphs**, {gib(rank.cuda_graph_bytes)} GiB deducted, {gib(rank.cuda_graph_pool_bytes)} GiB captured.",
        prose(
            f"**Non-torch and buffers**, {gib(rank.non_torch_bytes)} GiB: kernels at their first use, and the sampler's state. These",
            "and the graphs are fitted to measured starts; `--explain` names the starts.",
        ),
    ]


def _cache(shape: Shape, plan: KvPlan, rank: RankEstimate, per_token: int) -> list[str]:
    left = rank.available_kv_cache_bytes
    blocks = left // (per_token * plan.block_size)
    in_blocks = f"({whole(per_token)} x {plan.block_size} tokens a block)"
    return [
        "## The KV cache",
        prose(
            f"What is left, {whole(left)} bytes, holds keys and values of every token in flight. A token takes, in each layer,",
            "a key and a value for each KV head:",
        ),
        f"    2 x {shape.layers} layers x {shape.kv_heads} KV heads x {shape.head} x 2 bytes = {whole(per_token)} bytes\n"
        f"    {whole(left)} / {in_blocks} = {blocks} blocks = {whole(blocks * plan.block_size)} tokens",
        prose(
            f"One request of {whole(CONTEXT)} tokens needs {gib(CONTEXT * per_token)} GiB of it, so {plan.max_concurrency:.2f} such",
            "requests run at once. vLLM refuses to start where one does not fit.",
        ),
    ]


def _doubt(answer: Estimate, one: int) -> list[str]:
    low, high = answer.available_kv_cache_interval_bytes or (0, 0)
    edge = f'so the lower end does not hold one request ({gib(one)} GiB): "on the edge", some such starts work and some do not.'
    return [
        "## How sure it is",
        prose(
            f"Weights and the bytes of a block are exact. The rest is not: {covered_percent()} of 100 such starts leave between",
            f"{gib(low)} and {gib(high)} GiB for the cache, {'so even the lower end holds one request.' if low >= one else edge}",
            "A plan promises the lower end, never the middle. [Accuracy](accuracy.md) has the measured starts behind it.",
        ),
    ]


def _changes() -> list[str]:
    rows = [alternative(name, args) for name, args in ALTERNATIVES]
    return [
        "## What would change it",
        "GiB of one GPU; requests are of the context's length.",
        "\n".join(["| changed | weights | beside them | cache | it holds |", "|---|---|---|---|---|", *rows]),
        prose(
            "Which of these is offered for a request that does not fit, and in which order: [offers](status.md#offers).",
            "On which other GPUs it fits: [`plimsoll fit`](fit.md).",
        ),
    ]


def main() -> None:
    """Write the page."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_OUT
    out.write_text(page(), "utf-8")
    print(out)


if __name__ == "__main__":
    main()
