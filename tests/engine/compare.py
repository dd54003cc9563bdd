"""Whether the engine's answer is the one that Plimsoll expects, and in which value not.

Called by the command and by the small form in CI. Only compares: what is expected comes from `questions`, what is heard from the oracle.
"""

from __future__ import annotations

from typing import Any

from tests.engine.questions import Asked

from plimsoll_estimator import ResolvedArgs
from plimsoll_estimator.resolve.batching import largest_capture

SAME = (
    "dtype", "quantization", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "tensor_parallel_size", "pipeline_parallel_size",
    "data_parallel_size", "decode_context_parallel_size", "enable_expert_parallel", "enable_prefix_caching", "enable_chunked_prefill",
    "async_scheduling", "uses_v2_model_runner", "runner", "gpu_memory_utilization", "enforce_eager", "architecture",
)  # fmt: skip
"""Names that ResolvedArgs and the engine's configuration have in common."""


LACKING = (
    "Couldn't instantiate the backend tokenizer", "failed to tokenize reasoning strings", "must be an instance of MistralTokenizer",
    "Failed to import Ray",
)  # fmt: skip
"""Words of refusals for want of what the oracle does not hold, tokenizers and Ray, which is in the images: they say nothing of the list.
Beside Mistral's reasoning parser a model that cannot have Mistral's tokenizer is refused by a rule, so that only its own are left out."""


def says_nothing(heard: dict[str, Any]) -> bool:
    """Whether the answer is for want of a file or a package, so that it neither agrees nor differs."""
    return "refused" in heard and any(words in heard["refused"]["words"] for words in LACKING)


def difference(asked: Asked, heard: dict[str, Any]) -> str | None:
    """What the engine says otherwise, as one line; None where both agree."""
    refused = heard.get("refused")
    if says_nothing(heard):
        return None
    if asked.expects == "refused":
        agreed = refused is not None or asked.later
        return None if agreed else f"configures, where {asked.check} refuses: {asked.words}"
    if refused is not None:
        # Of what V0 is to serve nothing is known here: that it refuses it too is no other answer.
        return None if asked.expects == "V0" else f"refused by the {refused['where']}: {' '.join(refused['words'].split())}"
    held = heard["resolved"]
    if asked.expects == "V0":
        return None if held["uses_v0_engine"] else f"runs on V1, where {asked.words}"
    assert asked.resolved is not None
    differs = [pair for pair in differing(asked.resolved, held) if pair[0] not in asked.not_said]
    return None if not differs else ", ".join(f"{name} {theirs} where we say {ours}" for name, ours, theirs in differs)


def _ends_at(captured: list[int], limit: int) -> int:
    """The largest captured batch where graphs may go up to `limit`: on the release's grid, of 8 or later of 16, or the limit itself."""
    grids = {limit, limit - limit % 8 if limit >= 8 else largest_capture(limit), largest_capture(limit)}
    found = max(captured, default=0)
    return found if found in grids else limit


ONE_CLASS = {("Olmo3ForCausalLM", "Olmo2ForCausalLM")}
"""Names of one class: vLLM's own Olmo3Config says the other, and registry.py has both for models/olmo2.py (0.11.2)."""


def differing(ours: ResolvedArgs, theirs: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, ours, the engine's) of every value that is not the same."""
    pairs = [(name, getattr(ours, name), theirs[name]) for name in SAME if (getattr(ours, name), theirs[name]) not in ONE_CLASS]
    pairs.append(("kv_cache_dtype", ours.kv_cache_dtype, theirs["kv_cache_dtype"]))
    captured = [] if theirs["enforce_eager"] else theirs["capture_sizes"]  # which releases keep beside it
    pairs.append(("graphs", _ends_at(captured, ours.max_cudagraph_capture_size), max(captured, default=0)))
    if ours.block_size is not None:
        pairs.append(("block_size", ours.block_size, theirs["block_size"]))
    pairs.append(("V0 engine", False, theirs["uses_v0_engine"]))
    return [pair for pair in pairs if pair[1] != pair[2]]
