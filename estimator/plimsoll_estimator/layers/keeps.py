"""What the layers of a shape keep in the cache, mixer by mixer: bytes a token or a state, and the backend that decides block sizes.

Called by `kv_cache`. Sources: vLLM v1/kv_cache_interface.py, layers/attention, layers/mamba/mamba_utils.py. Refuses to know configs
and models: a mixer says everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Final

from plimsoll_estimator.attention_backends import NAMES_VALIDATED, backend_rules
from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.layers.backends import (
    TRITON_MLA,
    Backend,
    attention_backend,
    check_block_size,
    mla_backend,
    named_mla_backend,
    packs_sparse_fp8,
    sparse_cache_dtype,
    sparse_mla_backend,
)
from plimsoll_estimator.layers.fp8_cache import AskedOfBackend, check_fp8_cache, check_fp8_format, check_latent_fp8_cache, fp8_rules
from plimsoll_estimator.layers.kv_dtype import kv_head_bytes, mla_token_bytes
from plimsoll_estimator.layers.named_backend import (
    check_named_backend,
    check_named_encoder_backend,
    check_named_latent_backend,
    check_named_sparse_cache,
    latent_lacks,
)
from plimsoll_estimator.layers.needs import AttentionNeed, ModelNeeds, Need, StateNeed
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.recurrent import GDN_CHECKPOINT_ALIGNMENT, state_need
from plimsoll_estimator.mixers import (
    Attention,
    CompressedLatent,
    CrossAttention,
    DeltaNet,
    IndexKeys,
    KimiDelta,
    Latent,
    Lightning,
    Mamba1,
    Mamba2,
    ShortConv,
)
from plimsoll_estimator.objects import by_object, for_each
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.shape import Layer, Shape

_NOTHING: Final = Backend(name="NONE")
_STATES: Final = (DeltaNet, KimiDelta, Lightning, Mamba1, Mamba2, ShortConv)
_HOPPERS: Final = 3
"""The version of FlashAttention that is Hopper's alone."""
_BLACKWELL: Final = 100
_V4_TOKEN_BYTES: Final = 584
_V4_ALIGNMENT: Final = 576


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """The release and the layout that a mixer is priced for."""

    resolved: ResolvedArgs
    rules: PlannerRules

    @property
    def tp(self) -> int:
        return self.resolved.tensor_parallel_size

    @property
    def generation(self) -> int:
        """The card's major compute capability."""
        return self.resolved.gpu.capability // 10


def model_needs(shape: Shape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """What every layer of `shape` keeps under a layout, in order. Raises EngineRefusal and Unsupported as the mixers' rules do."""
    if shape.attends_both_ways:
        heads = frozenset(mixer.head_dim for mixer in shape.mixers if isinstance(mixer, Attention))
        check_named_encoder_backend(resolved.given.attention_backend, heads, resolved.gpu.capability, resolved.dtype, resolved.version)
        return ModelNeeds(kinds=(), order=(), backend=_NOTHING)
    ask = _Ask(resolved=resolved, rules=rules)
    kept: dict[tuple[int, ...], tuple[Need, ...]] = {}

    def of(layer: Layer) -> tuple[Need, ...]:
        """Layers of one mixer keep one object, whatever follows it: an answer stays small where no layer is like another."""
        key = (layer.keeps_cache, *map(id, layer.mixers))
        if key not in kept:
            kept[key] = _of_layer(layer, ask)
        return kept[key]

    kinds = tuple([of(layer) for layer in shape.kinds])
    needs = [need for found in kept.values() for need in found]
    modules = {key: of(layer) for key, layer in by_object(shape.predictions).items()}
    states = [need for need in needs if isinstance(need, StateNeed)]
    tokens = [need for need in needs if isinstance(need, AttentionNeed)]
    full = [need.token_bytes for need in tokens if need.kind in ("full", "mla") and not need.role]
    return ModelNeeds(
        kinds=kinds,
        order=shape.order,
        backend=_backend(shape, ask),
        state=max(states, key=lambda need: need.state_bytes, default=None),
        is_hybrid=bool(states and tokens),
        attention_token_bytes=max(full or [need.token_bytes for need in tokens], default=0),
        uses_mla=shape.latent,
        block_alignment=GDN_CHECKPOINT_ALIGNMENT if _exports_checkpoints(shape, ask) else 1,
        head_dim=max([mixer.head_dim for mixer in shape.mixers if isinstance(mixer, Attention)], default=0),
        chunk_size=shape.chunk_size,
        supports_mode_all=shape.keeps_every_state,
        encoder_tokens=max([mixer.tokens for mixer in shape.mixers if isinstance(mixer, CrossAttention)], default=0),
        packed=shape.mixes(CompressedLatent),
        predictions=for_each(shape.predictions, modules),
    )


def _of_layer(layer: Layer, ask: _Ask) -> tuple[Need, ...]:
    if not layer.keeps_cache:
        return ()
    return tuple([need for mixer in layer.mixers for need in _needs(mixer, ask)])


@singledispatch
def _needs(mixer: object, ask: _Ask) -> tuple[Need, ...]:
    raise Unsupported(Check.KV_CACHE_FAMILY, f"no KV-cache rule for layers of {type(mixer).__name__}")


@_needs.register
def _(mixer: Attention, ask: _Ask) -> tuple[Need, ...]:
    resolved = ask.resolved
    dtype = resolved.kv_cache_dtype if mixer.follows_cache_dtype else "auto"
    head_bytes = kv_head_bytes(dtype, resolved.dtype, mixer.head_dim, mixer.v_head_dim)
    return (AttentionNeed(kind=mixer.seen, token_bytes=max(1, mixer.kv_heads // ask.tp) * head_bytes, window=mixer.window),)


@_needs.register
def _(mixer: CrossAttention, ask: _Ask) -> tuple[Need, ...]:
    head_bytes = kv_head_bytes(ask.resolved.kv_cache_dtype, ask.resolved.dtype, mixer.head_dim, mixer.head_dim)
    return (AttentionNeed(kind="cross", token_bytes=max(1, mixer.kv_heads // ask.tp) * head_bytes),)


@_needs.register
def _(mixer: IndexKeys, ask: _Ask) -> tuple[Need, ...]:
    return (AttentionNeed(kind="mla", token_bytes=mixer.width * 2, role="indexer"),)


@_needs.register
def _(mixer: Latent, ask: _Ask) -> tuple[Need, ...]:
    resolved, width = ask.resolved, mixer.kv_lora_rank + mixer.qk_rope_head_dim
    if not mixer.index_head_dim:
        return (AttentionNeed(kind="mla", token_bytes=mla_token_bytes(resolved.kv_cache_dtype, resolved.dtype, width, sparse=False)),)
    dtype = sparse_cache_dtype(resolved.kv_cache_dtype, ask.rules)
    if dtype == "auto" and ask.generation == 12:
        dtype = "fp8_ds_mla"  # on consumer Blackwell the only backend knows the packed form alone
    sparse = packs_sparse_fp8(sparse_mla_backend(resolved.gpu.capability, dtype, ask.rules, resolved.given.attention_backend))
    latent = AttentionNeed(kind="mla", token_bytes=mla_token_bytes(dtype, resolved.dtype, width, sparse=sparse))
    if mixer.shares_index and ask.rules.shares_index:
        return (latent,)
    return AttentionNeed(kind="mla", token_bytes=_index_bytes(mixer.index_head_dim), role="indexer"), latent


def _index_bytes(width: int) -> int:
    """One token's index key: one byte per dimension and a 4-byte scale per 128 of them."""
    return width + width // 128 * 4


@_needs.register
def _(mixer: CompressedLatent, ask: _Ask) -> tuple[Need, ...]:
    """Hopper's packed fp8 form only: 448 values, 64 rotary values in 16 bits and 8 scales, pages rounded to 576 bytes."""
    resolved = ask.resolved
    if not ask.rules.packed_blocks or ask.generation != 9:
        raise Unsupported(Check.KV_CACHE_FAMILY, "DeepSeek-V4's cache has a rule on Hopper with vLLM 0.33 only")
    if not (resolved.kv_cache_dtype == "auto" or resolved.kv_cache_dtype.startswith("fp8")):
        raise EngineRefusal(Check.KV_CACHE_DTYPE_UNSUPPORTED, f"DeepSeek-V4 keeps fp8 only on Hopper, not {resolved.kv_cache_dtype}")
    window = AttentionNeed(
        kind="sliding_mla", token_bytes=_V4_TOKEN_BYTES, window=mixer.window, block_size=64, alignment=_V4_ALIGNMENT, role="window"
    )
    if mixer.ratio <= 1:
        return (window,)
    ratio, block = mixer.ratio, 4 if mixer.ratio == 4 else 8
    latent = AttentionNeed(kind="mla", token_bytes=_V4_TOKEN_BYTES, tokens_per_state=ratio, alignment=_V4_ALIGNMENT, role=f"c{ratio}")
    own: tuple[Need, ...] = (window, latent, _compressor(ratio, block, mixer.head_dim, "latent"))
    if ratio != 4:
        return own
    index = AttentionNeed(
        kind="mla", token_bytes=_index_bytes(mixer.index_head_dim), tokens_per_state=4, alignment=_V4_ALIGNMENT, role="indexer"
    )
    return (*own, index, _compressor(4, 4, mixer.index_head_dim, "index"))


def _compressor(ratio: int, block: int, head_dim: int, role: str) -> AttentionNeed:
    """The running key and score states of a compressor, in float32; ratio 4 overlaps with the group before."""
    overlap = 2 if ratio == 4 else 1
    return AttentionNeed(
        kind="sliding_mla", token_bytes=2 * overlap * head_dim * 4, window=overlap * ratio, block_size=block, alignment=_V4_ALIGNMENT,
        role=f"{role} compressor",
    )  # fmt: skip


@_needs.register
def _(mixer: Mamba1, ask: _Ask) -> tuple[Need, ...]:
    return (state_need(mixer, ask.resolved, ask.rules, role="mamba1", supports_all=True),)


@_needs.register
def _(mixer: Mamba2, ask: _Ask) -> tuple[Need, ...]:
    return (state_need(mixer, ask.resolved, ask.rules, role="mamba2", supports_all=True, checkpoints=ask.rules.mamba2_checkpoints),)


@_needs.register
def _(mixer: DeltaNet, ask: _Ask) -> tuple[Need, ...]:
    return (state_need(mixer, ask.resolved, ask.rules, role="gdn", checkpoints=_exports(mixer, ask), counted=True),)


@_needs.register
def _(mixer: KimiDelta, ask: _Ask) -> tuple[Need, ...]:
    return (state_need(mixer, ask.resolved, ask.rules, role="kda", counted=True),)


@_needs.register
def _(mixer: Lightning, ask: _Ask) -> tuple[Need, ...]:
    return (state_need(mixer, ask.resolved, ask.rules, role="lightning"),)


@_needs.register
def _(mixer: ShortConv, ask: _Ask) -> tuple[Need, ...]:
    return (state_need(mixer, ask.resolved, ask.rules, role="conv"),)


def _exports(mixer: DeltaNet, ask: _Ask) -> bool:
    """FlashInfer's prefill kernel can export states from within a prefill, on Hopper only."""
    return ask.rules.gdn_checkpoints and ask.generation == 9 and mixer.checkpoints


def _exports_checkpoints(shape: Shape, ask: _Ask) -> bool:
    return shape.mixes(DeltaNet) and any(isinstance(mixer, DeltaNet) and _exports(mixer, ask) for mixer in shape.mixers)


def _backend(shape: Shape, ask: _Ask) -> Backend:
    capability, dtype, named = ask.resolved.gpu.capability, ask.resolved.kv_cache_dtype, ask.resolved.given.attention_backend
    for mixer in shape.mixers:
        if isinstance(mixer, CompressedLatent):
            return Backend(name="DEEPSEEK_V4_SPARSE_MLA", block_size=256, kernel_block=256)
        if isinstance(mixer, IndexKeys):
            block = mixer.block if ask.rules.common_block_of_backends else 16
            return Backend(name="MINIMAX_M3_SPARSE", block_size=block, kernel_block=block)
        if isinstance(mixer, Latent):
            check_named_latent_backend(named, mixer, capability, ask.resolved.dtype, ask.resolved.version)
            if mixer.index_head_dim:
                dtype = sparse_cache_dtype(dtype, ask.rules)
                check_named_sparse_cache(named, dtype, ask.resolved.version)
                return sparse_mla_backend(capability, dtype, ask.rules, named)
            chosen = named_mla_backend(named, ask.rules) or _unnamed_mla_backend(mixer, ask)
            check_latent_fp8_cache(chosen.name, capability, dtype, fp8_rules(ask.resolved.version))
            return chosen
    attention = [mixer for mixer in shape.mixers if isinstance(mixer, Attention)]
    if not attention:
        return _NOTHING
    asked = _asked(shape, attention, ask.resolved)
    fp8, chosen = fp8_rules(ask.resolved.version), attention_backend(asked, ask.rules)
    check_named_backend(asked, ask.resolved.version, fp8)
    if any(mixer.follows_cache_dtype for mixer in attention):
        check_fp8_cache(asked, fp8)
        check_fp8_format(chosen.name, asked, fp8)
    if not any(isinstance(mixer, _STATES) for mixer in shape.mixers):  # beside states the block is rounded to what the backend has
        check_block_size(ask.resolved.given.block_size, asked, ask.resolved.version)
    return chosen


def _unnamed_mla_backend(mixer: Latent, ask: _Ask) -> Backend:
    """The backend of dense latent attention that the release takes by itself: Triton's where its first choice has not such vectors."""
    resolved = ask.resolved
    capability, version = resolved.gpu.capability, resolved.version
    first = mla_backend(capability, resolved.kv_cache_dtype, ask.rules, mixer.qk_nope_head_dim)
    if version < NAMES_VALIDATED:
        return first
    for backend in (first, TRITON_MLA):
        if not all(latent_lacks(mixer, rule, capability, resolved.dtype) for rule in backend_rules(backend.name, version)):
            return backend
    width = mixer.kv_lora_rank + mixer.qk_rope_head_dim
    words = f"no attention backend of vLLM {version} keeps vectors of {width} a token (kv_lora_rank and qk_rope_head_dim) on this GPU"
    raise EngineRefusal(Check.NO_ATTENTION_BACKEND, words)


def _flash_version(resolved: ResolvedArgs) -> int | None:
    """fa_utils.py: get_flash_attn_version, "Cannot use FA version 3 on Blackwell platform": then it is the GPU's own."""
    asked = resolved.given.flash_attn_version
    exchanged = asked == _HOPPERS and resolved.gpu.capability >= _BLACKWELL
    return None if exchanged or resolved.given.attention_backend != "FLASH_ATTN" else asked


def _asked(shape: Shape, attention: Sequence[Attention], resolved: ResolvedArgs) -> AskedOfBackend:
    given = resolved.given
    return AskedOfBackend(
        capability=resolved.gpu.capability,
        cache_dtype=resolved.kv_cache_dtype,
        dtype=resolved.dtype,
        head_sizes=frozenset(mixer.head_dim for mixer in attention),
        image_prefix=shape.image_prefix,
        text_only=resolved.text_only,
        sinks=any(mixer.sinks for mixer in attention),
        crosses=shape.mixes(CrossAttention),
        named=given.attention_backend,
        flash_version=_flash_version(resolved),
        flashinfer=given.flashinfer_installed is not False,
    )
