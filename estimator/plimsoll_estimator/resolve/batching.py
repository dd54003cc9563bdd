"""Batch sizes, CUDA-graph capture size and tokens in flight, as each vLLM release sets them.

Called by `resolve`. Follows vLLM engine/arg_utils.py:get_batch_defaults and config/vllm.py. Online-server defaults only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolve.checks import positive
from plimsoll_estimator.resolve.facts import engine_defaults
from plimsoll_estimator.resolve.releases import argument_rules
from plimsoll_estimator.resolved import Gpu, GraphMode
from plimsoll_estimator.units import GIB

# Gemma-4 takes one video (32 frames of 70 tokens and their separators) in one batch: the floor of its tokens.
_GEMMA4_ITEM_TOKENS: Final = 2496


def batch_sizes(
    config: HfConfig, architecture: str, args: EngineArgs, gpu: Gpu, version: EngineVersion, *, length: int, chunked_prefill: bool
) -> tuple[int, int]:
    """(max_num_seqs, max_num_batched_tokens): given values kept, absent ones by GPU tier and model."""
    rules = argument_rules(version)
    doubled = 2 if args.performance_mode == "throughput" else 1
    default_tokens, default_seqs = (doubled * value for value in _tier(gpu, version))
    seqs = positive("max_num_seqs", args.max_num_seqs, default_seqs)
    tokens = positive("max_num_batched_tokens", args.max_num_batched_tokens, default_tokens)
    if args.max_num_batched_tokens is None:
        if not chunked_prefill:
            tokens = max(tokens, length) if rules.lowers_tokens else length
        if rules.prefix_lm_floor and shares_a_batch(config, architecture):
            tokens = max(tokens, _GEMMA4_ITEM_TOKENS)
        if rules.lowers_tokens:
            tokens = min(tokens, seqs * length)
    if args.max_num_seqs is None and rules.lowers_seqs:
        seqs = min(seqs, tokens)
    return seqs, tokens


def shares_a_batch(config: HfConfig, architecture: str) -> bool:
    """Whether the tokens of one image or video attend to one another, and so must be in one batch (model_arch_config: is_mm_prefix_lm)."""
    return architecture.startswith("Gemma4For") and language(config).raw("use_bidirectional_attention") == "vision"


class _Tier(NamedTuple):
    """Defaults of GPUs of a size, and of a name where any is listed."""

    least_bytes: int
    except_a100: bool
    named: tuple[str, ...]
    tokens: int
    seqs: int

    def holds(self, gpu: Gpu) -> bool:
        """Whether vLLM gives these defaults on this GPU."""
        product = gpu.product.upper()
        named = not self.named or any(name in product for name in self.named)
        return named and gpu.total_memory_bytes >= self.least_bytes and not (self.except_a100 and "A100" in product)


@lru_cache(maxsize=64)
def _tiers(version: EngineVersion) -> tuple[_Tier, ...]:
    """The tiers of a release; the last that holds wins."""
    return tuple(
        _Tier(row["min_total_gib"] * GIB, bool(row["except_a100"]), tuple(row.get("named", ())), row["tokens"], row["seqs"])
        for row in engine_defaults()["batch_tiers"]
        if version >= EngineVersion.parse(row["since"]) and ("before" not in row or version < EngineVersion.parse(row["before"]))
    )


def _tier(gpu: Gpu, version: EngineVersion) -> tuple[int, int]:
    small = engine_defaults()["small_tier"]
    found: tuple[int, int] = (small["tokens"], small["seqs"])
    if gpu.compute_capability == (12, 1) and argument_rules(version).spark_is_small:
        return found
    for tier in _tiers(version):
        if tier.holds(gpu):
            found = (tier.tokens, tier.seqs)
    return found


def capture_size(args: EngineArgs, architecture: str, gpu: Gpu, version: EngineVersion, *, seqs: int, tokens: int) -> int:
    """The largest batch captured as a CUDA graph, where there are graphs (vLLM config/vllm.py:_set_cudagraph_sizes)."""
    if args.cudagraph_capture_sizes is not None:
        return max((size for size in args.cudagraph_capture_sizes if size <= tokens), default=0)
    if args.max_cudagraph_capture_size == 0:
        words = "must be at least 1 where there are CUDA graphs: --enforce-eager leaves them out"
        raise InvalidInput("engine_args.max_cudagraph_capture_size", 0, words)
    if args.max_cudagraph_capture_size is not None:
        return min(args.max_cudagraph_capture_size, tokens)
    rules = argument_rules(version)
    if architecture == "GptOssForCausalLM" and rules.captures_gpt_oss_to:
        return min(rules.captures_gpt_oss_to, tokens)
    limit = 1024 if gpu.compute_capability[0] == 10 and rules.captures_blackwell_to_1024 else 512
    if not rules.captures_by_seqs:
        return min(limit, tokens)
    drafted = (args.num_speculative_tokens or 0) if rules.captures_drafts else 0
    return min(seqs * (1 + drafted) * 2, limit, tokens)


def graph_mode(args: EngineArgs, *, eager: bool, runner: str) -> GraphMode:
    """Which graphs are captured (config/vllm.py: __post_init__): of pooling models pieces alone."""
    if eager or args.cudagraph_mode == "none":
        return "none"
    return "piecewise" if args.cudagraph_mode == "piecewise" or runner == "pooling" else "full"


def largest_capture(limit: int) -> int:
    """The largest captured batch up to `limit`: 1, 2, 4, then every 8 below 256, then every 16."""
    if limit < 8:
        return max((size for size in (1, 2, 4) if size <= limit), default=0)
    return limit - limit % (8 if limit < 256 else 16)


def in_flight_tokens(tokens: int, pp: int, asynchronous: bool, v2: bool, version: EngineVersion) -> int:
    """Tokens a request may have in flight, as the window formulas count them: one batch before 0.26, then one per batch."""
    if not argument_rules(version).counts_batches_in_flight:
        return tokens
    if asynchronous:
        return tokens * (pp + 1 if v2 else max(2, pp) if pp <= 1 else pp)
    return tokens * pp
