"""Families that attend to chosen tokens only: DeepSeek-V3.2 and GLM-5 (latent attention with an indexer), MiniMax-M3.

Called by `families`. The indexer keeps a cache of its own beside the latent or the keys and values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache.backends import Backend, packs_sparse_fp8, sparse_mla_backend
from plimsoll_estimator.kv_cache.kv_dtype import kv_head_bytes, mla_token_bytes
from plimsoll_estimator.kv_cache.needs import AttentionNeed, ModelNeeds, Need
from plimsoll_estimator.kv_cache.rules import PlannerRules
from plimsoll_estimator.kv_cache.text_shape import MAX_LAYERS, TextShape, positive
from plimsoll_estimator.resolved import ResolvedArgs

Family = Callable[[HfConfig, TextShape, ResolvedArgs, PlannerRules], ModelNeeds]


def indexer_token_bytes(text: HfConfig) -> int:
    """One token's index key: one byte per dimension and a 4-byte scale per 128 of them."""
    width = text.int("index_head_dim", default=128)
    return width + width // 128 * 4


def sparse_mla(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """A latent per layer and an index key on the layers that choose tokens themselves."""
    text = config.text
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
    period = positive(text, "index_topk_freq", text.int("index_topk_freq", default=1), MAX_LAYERS)
    offset = text.int("index_skip_topk_offset", default=2)
    return [max(i - offset + 1, 0) % period == 0 for i in range(layers)]


def _minimax_m3(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Ordinary keys and values in every layer, and one 16-bit index key on the sparse ones."""
    text = config.text
    token_bytes = shape.kv_heads_per_rank(resolved.tensor_parallel_size) * kv_head_bytes(
        resolved.kv_cache_dtype, resolved.dtype, shape.head_dim, shape.head_dim
    )
    attention = AttentionNeed(kind="full", token_bytes=token_bytes)
    sparse = text.sub("sparse_attention_config")
    flags = (sparse.list_or_none("sparse_attention_freq") if sparse else None) or (0,) * shape.layers
    width = sparse.int("sparse_index_dim", default=128) if sparse else 128
    indexer = AttentionNeed(kind="mla", token_bytes=width * 2, role="indexer")
    plain: tuple[Need, ...] = (attention,)
    chooses: tuple[Need, ...] = (attention, indexer)
    layers = tuple(chooses if i < len(flags) and flags[i] else plain for i in range(shape.layers))
    block = (sparse.int("sparse_block_size", default=128) if sparse else 128) if rules.common_block_of_backends else 16
    return ModelNeeds(
        layers=layers,
        backend=Backend(name="MINIMAX_M3_SPARSE", block_size=block, kernel_block=block),
        attention_token_bytes=token_bytes,
    )


_V4_TOKEN_BYTES: Final = 584
_V4_ALIGNMENT: Final = 576


def _deepseek_v4(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Windowed latents in every layer; compressed ones (4 or 128 tokens a state), their compressors and an indexer in most.

    Hopper's packed fp8 form only: 448 values, 64 rotary values in 16 bits and 8 scales, pages rounded to 576 bytes.
    """
    if not rules.packed_blocks or resolved.gpu.capability // 10 != 9:
        raise Unsupported("KvCacheFamily", "DeepSeek-V4's cache has a rule on Hopper with vLLM 0.33 only")
    if not (resolved.kv_cache_dtype == "auto" or resolved.kv_cache_dtype.startswith("fp8")):
        raise EngineRefusal("KvCacheDtypeNotSupported", f"DeepSeek-V4 keeps fp8 only on Hopper, not {resolved.kv_cache_dtype}")
    text = config.text
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
        made[ratio] = (window, latent, _compressor(ratio, block, shape.head_dim, "latent"))
    index = AttentionNeed(kind="mla", token_bytes=indexer_token_bytes(text), tokens_per_state=4, alignment=_V4_ALIGNMENT, role="indexer")
    made[4] = (*made[4], index, _compressor(4, 4, text.int("index_head_dim", default=128), "index"))
    ratios = text.list_or_none("compress_ratios") or ()
    if len(ratios) < shape.layers or any(not isinstance(ratio, int) or ratio not in made for ratio in ratios[: shape.layers]):
        raise Unsupported("KvCacheFamily", "DeepSeek-V4: compress_ratios must name 0, 1, 4 or 128 for every layer")
    return ModelNeeds(
        layers=tuple(made[ratio] for ratio in ratios[: shape.layers]),
        backend=Backend(name="DEEPSEEK_V4_SPARSE_MLA", block_size=256, kernel_block=256),
        packed=True,
        prediction_module=(window,),
    )


def _compressor(ratio: int, block: int, head_dim: int, role: str) -> AttentionNeed:
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


SPARSE_FAMILIES: Final[dict[str, Family]] = {
    "deepseek_v4": _deepseek_v4,
    "minimax_m3": _minimax_m3,
    "minimax_m3_vl": _minimax_m3,
}
