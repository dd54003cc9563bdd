"""Blocks of models that mix attention with recurrent state: both kinds of page are made equal (vLLM: _align_hybrid_block_size).

Called by `model_layers`. Knows pages and alignments, no family.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.recurrent import cache_mode
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import ceil_div


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedBlocks:
    """The engine's block size, the tokens a state block stands for, and the padded state page (0: unpadded)."""

    block_size: int
    state_block_size: int
    state_page_bytes: int


def align_hybrid(needs: ModelNeeds, resolved: ResolvedArgs, rules: PlannerRules, block_size: int) -> AlignedBlocks:
    """Round the attention block up until its page holds the largest state, then pad the state to that page."""
    assert needs.state is not None
    if needs.is_hybrid and needs.attention_token_bytes <= 0:
        raise InvalidInput("config", needs.attention_token_bytes, "describes attention layers whose cache has no bytes")
    mode = cache_mode(resolved, rules, supports_all=needs.supports_mode_all)
    if not needs.is_hybrid:
        state_block = resolved.max_model_len if mode == "none" else block_size
        return AlignedBlocks(block_size=block_size, state_block_size=state_block, state_page_bytes=0)
    alignment = _alignment(needs, resolved, rules, block_size)
    token_bytes, state_bytes = needs.attention_token_bytes, needs.state.state_bytes
    if mode == "all":
        chunk = lcm(needs.chunk_size, alignment)
        aligned = chunk * ceil_div(ceil_div(state_bytes, token_bytes), chunk)
    else:
        if mode == "align":
            alignment = lcm(alignment, needs.block_alignment)
        aligned = alignment * ceil_div(state_bytes, alignment * token_bytes)
    final = max(block_size, aligned)
    state_block = {"none": resolved.max_model_len, "align": final, "all": aligned}[mode]
    return AlignedBlocks(block_size=final, state_block_size=state_block, state_page_bytes=final * token_bytes)


def _alignment(needs: ModelNeeds, resolved: ResolvedArgs, rules: PlannerRules, block_size: int) -> int:
    if not rules.hybrid_alignment_from_backend:
        if needs.uses_mla:
            return rules.mla_hybrid_alignment
        blackwell = resolved.gpu.capability // 10 == 10 and needs.head_dim == 256
        return rules.sm100_hybrid_alignment if blackwell else 16
    alignment = max(needs.backend.kernel_block, block_size)
    return max(alignment, rules.mla_hybrid_alignment) if needs.uses_mla else alignment
