"""DeepSeek V4: one shared key-value head, grouped output projection, compressors, hyper-connections, hash-routed first layers.

`models.register` names it. Knows no quantisation.
Sources: vllm/models/deepseek_v4/{attention,compressor}.py and nvidia/model.py (0.33.0).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.backends import Backend
from plimsoll_estimator.layers.caches import indexer_token_bytes
from plimsoll_estimator.layers.decoder import DecoderStyle, mlp, sizes, stack
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds, Need
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank, divide
from plimsoll_estimator.layers.rope import rope, rope_parameters
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.units import round_up

_STYLE = DecoderStyle()
_PADDED_HEADS = 64
_OVERLAPPING_RATIO = 4


def _compressor(rank: Rank, hidden: int, head_dim: int, ratio: int) -> None:
    """Position table in float32, one unquantised projection to keys and gates, a norm. Ratio 4 overlaps: twice as wide."""
    width = head_dim * (2 if ratio == _OVERLAPPING_RATIO else 1)
    rank.tensor(ratio * width, 4)
    rank.tensor(2 * width * hidden)
    rank.norm(head_dim)


def _attention(rank: Rank, parent: str, hidden: int, heads: int, ratio: int) -> None:
    text = rank.text
    head_dim, q_rank = text.int("head_dim"), text.int("q_lora_rank")
    groups, o_rank = text.int("o_groups"), text.int("o_lora_rank")
    rank.tensor(round_up(divide(heads, rank.tp), _PADDED_HEADS), 4)
    rank.replicated(parent, ("wq_a", "wkv"), hidden, (q_rank, head_dim))
    rank.norm(q_rank + head_dim)
    rank.column(parent, ("wq_b",), q_rank, (heads * head_dim,))
    rank.column(parent, ("wo_a",), heads * head_dim // groups, (groups * o_rank,))
    rank.row(parent, "wo_b", groups * o_rank, hidden)
    if ratio == _OVERLAPPING_RATIO:
        index_heads, index_dim = text.int("index_n_heads"), text.int("index_head_dim")
        rank.replicated(f"{parent}.indexer", ("wq_b",), q_rank, (index_heads * index_dim,))
        rank.tensor(index_heads * hidden)
        _compressor(rank, hidden, index_dim, ratio)
    if ratio > 1:
        _compressor(rank, hidden, head_dim, ratio)


def _experts(rank: Rank, parent: str, hidden: int, hashed: bool, vocabulary: int) -> None:
    text = rank.text
    experts, intermediate = text.int("n_routed_experts"), text.int("moe_intermediate_size")
    rank.tensor(experts * hidden)
    rank.tensor(vocabulary * text.int("num_experts_per_tok") if hashed else experts, 4)
    shared = (text.int_or_none("n_shared_experts") or 0) * intermediate
    if shared:
        mlp(rank, f"{parent}.shared_experts", hidden, shared, _STYLE, rank.shared_experts_tp(EngineVersion(0, 11)))
    rank.experts(f"{parent}.experts", experts, hidden, intermediate)


def deepseek_v4(rank: Rank) -> None:
    """DeepseekV4ForCausalLM. Two float32 rope tables: plain layers and compressed ones."""
    text = rank.text
    size = sizes(text, _STYLE, rank.config)
    ratios = text.list_or_none("compress_ratios") or ()
    hashed_layers = text.int("num_hash_layers", default=0)
    streams = text.int("hc_mult", default=4)
    mixing = streams * (2 + streams)
    rotary = text.int("qk_rope_head_dim")
    values = dict(rope_parameters(text))
    if values["rope_type"] != "default":
        values["rope_type"] = "deepseek_yarn"

    def ratio(i: int) -> int:
        found = ratios[i] if i < len(ratios) else 0
        return found if isinstance(found, int) else 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        _attention(rank, f"{name}.attn", size.hidden_size, size.heads, ratio(i))
        _experts(rank, f"{name}.ffn", size.hidden_size, i < hashed_layers, size.vocab_size)
        rank.norm(size.hidden_size, count=2)
        rank.tensor(2 * (mixing * streams * size.hidden_size + mixing + 3), 4)
        theta = text.float_or_none("compress_rope_theta") if ratio(i) > 1 else values["rope_theta"]
        rope(rank, size.head_dim, size.positions, parameters={**values, "rope_theta": theta}, rotary_dim=rotary, item=4)

    def kind(i: int) -> Hashable:
        return ratio(i), i < hashed_layers

    stack(rank, size, _STYLE, layer, kind)
    rank.tensor(streams * streams * size.hidden_size + streams + 1, 4)


_V4_TOKEN_BYTES: Final = 584
_V4_ALIGNMENT: Final = 576


def deepseek_v4_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Windowed latents in every layer; compressed ones (4 or 128 tokens a state), their compressors and an indexer in most.

    Hopper's packed fp8 form only: 448 values, 64 rotary values in 16 bits and 8 scales, pages rounded to 576 bytes.
    """
    if not rules.packed_blocks or resolved.gpu.capability // 10 != 9:
        raise Unsupported(Check.KV_CACHE_FAMILY, "DeepSeek-V4's cache has a rule on Hopper with vLLM 0.33 only")
    if not (resolved.kv_cache_dtype == "auto" or resolved.kv_cache_dtype.startswith("fp8")):
        raise EngineRefusal(Check.KV_CACHE_DTYPE_UNSUPPORTED, f"DeepSeek-V4 keeps fp8 only on Hopper, not {resolved.kv_cache_dtype}")
    text = language(config)
    window = AttentionNeed(
        kind="sliding_mla",
        token_bytes=_V4_TOKEN_BYTES,
        window=text.int("sliding_window"),
        block_size=64,
        alignment=_V4_ALIGNMENT,
        role="window",
    )
    made: dict[object, tuple[Need, ...]] = {0: (window,), 1: (window,)}
    for ratio, block in ((4, 4), (128, 8)):
        latent = AttentionNeed(kind="mla", token_bytes=_V4_TOKEN_BYTES, tokens_per_state=ratio, alignment=_V4_ALIGNMENT, role=f"c{ratio}")
        made[ratio] = (window, latent, _compressor_need(ratio, block, shape.head_dim, "latent"))
    index = AttentionNeed(kind="mla", token_bytes=indexer_token_bytes(text), tokens_per_state=4, alignment=_V4_ALIGNMENT, role="indexer")
    made[4] = (*made[4], index, _compressor_need(4, 4, text.int("index_head_dim", default=128), "index"))
    ratios = text.list_or_none("compress_ratios") or ()
    if len(ratios) < shape.layers or any(not isinstance(ratio, int) or ratio not in made for ratio in ratios[: shape.layers]):
        raise Unsupported(Check.KV_CACHE_FAMILY, "DeepSeek-V4: compress_ratios must name 0, 1, 4 or 128 for every layer")
    return ModelNeeds(
        layers=tuple(made[ratio] for ratio in ratios[: shape.layers]),
        backend=Backend(name="DEEPSEEK_V4_SPARSE_MLA", block_size=256, kernel_block=256),
        packed=True,
        prediction_module=(window,),
    )


def _compressor_need(ratio: int, block: int, head_dim: int, role: str) -> AttentionNeed:
    """The running key and score states of a compressor, in float32; ratio 4 overlaps with the group before."""
    overlap = 2 if ratio == 4 else 1
    return AttentionNeed(
        kind="sliding_mla",
        token_bytes=2 * overlap * head_dim * 4,
        window=overlap * ratio,
        block_size=block,
        alignment=_V4_ALIGNMENT,
        role=f"{role} compressor",
    )
