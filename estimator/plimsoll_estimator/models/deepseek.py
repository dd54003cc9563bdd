"""DeepSeek 1 to V3.2, and what is built of its classes: GLM-5, GLM-4.7-Flash, Kimi-K2, A.X K1.

`models.register` names it; `models.kimi` is its heir. Knows no quantisation.
Sources: vllm/model_executor/models/{deepseek,deepseek_v2,deepseek_mtp,glm4_moe_lite}.py.
"""

from __future__ import annotations

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.backends import packs_sparse_fp8, sparse_mla_backend
from plimsoll_estimator.layers.caches import indexer_token_bytes
from plimsoll_estimator.layers.decoder import MAX_DRAFT_LAYERS, DecoderStyle, mlp, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, build_moe, moe
from plimsoll_estimator.layers.kv_dtype import mla_token_bytes
from plimsoll_estimator.layers.latent import indexer, latent, latent_attention, latent_rope
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds, Need
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.layers.text_shape import TextShape, within
from plimsoll_estimator.reader import MAX_LAYERS, language
from plimsoll_estimator.resolved import ResolvedArgs


def deepseek(rank: Rank) -> None:
    """DeepseekForCausalLM (the first): ordinary attention, shared experts."""
    text = rank.text
    sparse = MoeStyle(shared="count", intermediate=("moe_intermediate_size",))
    build_moe(rank, DecoderStyle(), sparse, first_dense=text.int("first_k_dense_replace", default=0))


def _has_indexer(text: HfConfig, layer: int) -> bool:
    kinds = text.list_or_none("indexer_types")
    if kinds is not None and layer < len(kinds):
        return bool(kinds[layer] != "shared")
    return True


def deepseek_v2(rank: Rank) -> None:
    """DeepseekV2/V3/V32ForCausalLM, GlmMoeDsaForCausalLM, Glm4MoeLiteForCausalLM."""
    text = rank.text
    dims = latent(text)
    style = DecoderStyle(ties=False)
    size = sizes(text, style, rank.config)
    sparse = "index_topk" in text
    ax = rank.resolved.architecture == "AXK1ForCausalLM"
    correction = ax or text.str_or_none("topk_method") == "noaux_tc"
    wide = text.str_or_none("moe_router_dtype") == "float32" or text.model_type == "glm_moe_dsa"
    gate_item = 4 if wide and rank.version.since(0, 20) and rank.version.before(0, 26) else 0
    block = MoeStyle(
        shared="count",
        unsplit_since=EngineVersion(0, 11),
        correction=correction,
        gate_item=gate_item,
        intermediate=("moe_intermediate_size",),
    )
    first, step = text.int("first_k_dense_replace", default=0), positive(text, "moe_layer_freq", default=1)
    routed = "n_routed_experts" in text
    bias = text.bool("attention_bias")
    norms = 3 if ax else 2  # A.X K1 has one behind the feed-forward block too

    def is_sparse(i: int) -> bool:
        return routed and i >= first and i % step == 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        latent_attention(rank, f"{name}.self_attn", dims, bias)
        if sparse and _has_indexer(text, i):
            indexer(rank, f"{name}.self_attn", dims)
        if is_sparse(i):
            moe(rank, name, size.hidden_size, block)
        else:
            mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=norms)
        latent_rope(rank, dims, size.positions)

    stack(rank, size, style, layer, lambda i: (is_sparse(i), sparse and _has_indexer(text, i)))
    if rank.drafts_by_mtp:
        # deepseek_mtp.py: whole layers after a joint projection; embedding and head are the target's.
        for i in range(min(text.int("num_nextn_predict_layers", default=0), MAX_DRAFT_LAYERS)):
            layer(size.num_hidden_layers + i)
            rank.tensor(2 * size.hidden_size * size.hidden_size)
            rank.norm(size.hidden_size, count=3)
    if sparse and not text.bool("indexer_rope_interleave") and rank.version.since(0, 13):
        latent_rope(rank, dims, size.positions, "indexer")


def sparse_latent_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """A latent per layer and an index key on the layers that choose tokens themselves."""
    text = language(config)
    backend = sparse_mla_backend(resolved.gpu.capability, resolved.kv_cache_dtype, rules)
    # On consumer Blackwell the only backend knows the packed form alone.
    auto = "fp8_ds_mla" if resolved.gpu.capability // 10 == 12 else "auto"
    latent_bytes = mla_token_bytes(
        auto if resolved.kv_cache_dtype == "auto" else resolved.kv_cache_dtype,
        resolved.dtype,
        shape.kv_lora_rank + shape.qk_rope_head_dim,
        sparse=packs_sparse_fp8(resolved.gpu.capability),
    )
    latent = AttentionNeed(kind="mla", token_bytes=latent_bytes)
    indexer = AttentionNeed(kind="mla", token_bytes=indexer_token_bytes(text), role="indexer")
    chooses: tuple[Need, ...] = (indexer, latent)
    follows: tuple[Need, ...] = (latent,)
    layers = tuple(chooses if own else follows for own in _own_indexer(text, shape.layers, rules))
    return ModelNeeds(layers=layers, backend=backend, attention_token_bytes=latent.token_bytes, uses_mla=True)


def _own_indexer(text: HfConfig, layers: int, rules: PlannerRules) -> list[bool]:
    """Which layers choose tokens: every n-th after an offset, or as the pattern says ("S" shares the layer before)."""
    if not rules.shares_index:
        return [True] * layers
    pattern = text.raw("index_topk_pattern")
    if isinstance(pattern, str | list | tuple) and pattern:
        return [i >= len(pattern) or pattern[i] != "S" for i in range(layers)]
    period = within(text, "index_topk_freq", text.int("index_topk_freq", default=1), MAX_LAYERS)
    offset = text.int("index_skip_topk_offset", default=2)
    return [max(i - offset + 1, 0) % period == 0 for i in range(layers)]
