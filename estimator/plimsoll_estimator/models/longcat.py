"""LongCat-Flash: two latent attentions and two dense MLPs a layer.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/longcat_flash.py.
"""

from __future__ import annotations

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.backends import mla_backend
from plimsoll_estimator.layers.decoder import DecoderStyle, mlp, sizes, stack
from plimsoll_estimator.layers.kv_dtype import mla_token_bytes
from plimsoll_estimator.layers.latent import latent, latent_attention, latent_rope
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.resolved import ResolvedArgs


def longcat(rank: Rank) -> None:
    """LongcatFlashForCausalLM: two latent attentions and two dense MLPs a layer, one block of experts, some of them without weights."""
    text = rank.text
    dims = latent(text)
    style = DecoderStyle(ties=False)
    size = sizes(text, style, rank.config)
    experts, nothing = text.int("n_routed_experts"), text.int("zero_expert_num", default=0)
    intermediate = text.int("expert_ffn_hidden_size", "moe_intermediate_size")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        for half in range(2):
            latent_attention(rank, f"{name}.self_attn.{half}", dims, text.bool("attention_bias"))
            mlp(rank, f"{name}.mlps.{half}", size.hidden_size, size.intermediate_size, style)
            rank.norm(size.hidden_size, count=2)
        rank.tensor((experts + nothing) * size.hidden_size, 4)
        rank.tensor(experts + nothing, 4)
        rank.experts(f"{name}.mlp.experts", experts, size.hidden_size, intermediate)
        latent_rope(rank, dims, size.positions)

    stack(rank, size, style, layer)


def longcat_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Two latent attentions in every layer."""
    token_bytes = mla_token_bytes(resolved.kv_cache_dtype, resolved.dtype, shape.kv_lora_rank + shape.qk_rope_head_dim, sparse=False)
    need = AttentionNeed(kind="mla", token_bytes=token_bytes)
    backend = mla_backend(resolved.gpu.capability, resolved.kv_cache_dtype, rules, shape.qk_nope_head_dim)
    return ModelNeeds(layers=((need, need),) * shape.layers, backend=backend, attention_token_bytes=token_bytes, uses_mla=True)
