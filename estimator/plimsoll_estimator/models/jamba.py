"""Jamba: Mamba 1, attention at a period, experts in every other layer.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/jamba.py.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import ATTENTION, STATE, mixed_caches, state_chunk
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, everywhere, mlp, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, expert_count, moe
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.layers.recurrent import mamba1_bytes, state_need
from plimsoll_estimator.layers.state import mamba1
from plimsoll_estimator.layers.text_shape import TextShape, within
from plimsoll_estimator.reader import MAX_LAYERS, language
from plimsoll_estimator.resolved import ResolvedArgs


def jamba(rank: Rank) -> None:
    """JambaForCausalLM: Mamba 1 with norms, attention without rope, experts in every other layer."""
    text = rank.text
    style = everywhere(DecoderStyle(ties=False, attention=""))
    size = sizes(text, style, rank.config)
    period, offset = positive(text, "attn_layer_period", default=8), text.int("attn_layer_offset", default=4)
    expert_period, expert_offset = positive(text, "expert_layer_period", default=2), text.int("expert_layer_offset", default=1)
    block = MoeStyle(parent="feed_forward", intermediate=("intermediate_size",))

    def attends(i: int) -> bool:
        return i % period == offset

    def routed(i: int) -> bool:
        return i % expert_period == expert_offset and expert_count(text) > 1

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if attends(i):
            attention(rank, name, size, style)
        else:
            mamba1(rank, f"{name}.mamba", text, norms=True)
        if routed(i):
            moe(rank, name, size.hidden_size, block)
        else:
            mlp(rank, f"{name}.feed_forward", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, style, layer, lambda i: (attends(i), routed(i)))


def jamba_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Attention at a period, Mamba 1 elsewhere."""
    text = language(config)
    state_bytes = mamba1_bytes(
        resolved,
        inner=text.int("mamba_expand", default=2) * shape.hidden_size,
        state_size=text.int("mamba_d_state", default=16),
        conv_kernel=text.int("mamba_d_conv", default=4),
    )
    period = within(text, "attn_layer_period", text.int("attn_layer_period", default=8), MAX_LAYERS)
    offset = text.int("attn_layer_offset", default=4)
    kinds = [ATTENTION if i % period == offset else STATE for i in range(shape.layers)]
    state = state_need(resolved, rules, state_bytes, role="mamba1", supports_all=True)
    return mixed_caches(shape, resolved, rules, kinds, state, chunk_size=state_chunk(text), supports_mode_all=True)
