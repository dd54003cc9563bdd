"""Families with recurrent state: Mamba1/2 models and hybrids, GatedDeltaNet, KDA, lightning attention, short convolutions.

Called by `families`. Each reads the keys of its own config class; bytes come from `recurrent`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kv_cache.backends import Backend, attention_backend, mla_backend
from plimsoll_estimator.kv_cache.kv_dtype import kv_head_bytes, mla_token_bytes
from plimsoll_estimator.kv_cache.needs import AttentionNeed, ModelNeeds, Need, StateNeed
from plimsoll_estimator.kv_cache.recurrent import (
    GDN_CHECKPOINT_ALIGNMENT,
    gated_delta_net_bytes,
    kda_bytes,
    lightning_bytes,
    mamba1_bytes,
    mamba2_bytes,
    short_conv_bytes,
    state_need,
)
from plimsoll_estimator.kv_cache.rules import PlannerRules
from plimsoll_estimator.kv_cache.text_shape import MAX_LAYERS, MAX_WIDTH, TextShape, positive
from plimsoll_estimator.resolved import ResolvedArgs

ATTENTION, STATE, BOTH, NEITHER = "attention", "state", "both", "neither"
# Names of layers in published files; Transformers 5 saves state-space layers as "linear_attention".
_LAYER_NAMES: Final = {
    "mamba": STATE, "mamba2": STATE, "linear_attention": STATE, "attention": ATTENTION, "full_attention": ATTENTION,
}  # fmt: skip


def _compose(
    shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules, kinds: Iterable[str], state: StateNeed, *, chunk_size: int = 2048,
    supports_mode_all: bool = False, block_alignment: int = 1, value_dim: int | None = None,
) -> ModelNeeds:  # fmt: skip
    """Layers of `kinds` from one attention shape and one state."""
    if shape.uses_mla:
        token_bytes = mla_token_bytes(resolved.kv_cache_dtype, resolved.dtype, shape.kv_lora_rank + shape.qk_rope_head_dim, sparse=False)
        attention = AttentionNeed(kind="mla", token_bytes=token_bytes)
        backend = mla_backend(resolved.gpu.capability, resolved.kv_cache_dtype, rules, shape.qk_nope_head_dim)
    else:
        token_bytes = shape.kv_heads_per_rank(resolved.tensor_parallel_size) * kv_head_bytes(
            resolved.kv_cache_dtype, resolved.dtype, shape.head_dim, value_dim or shape.head_dim
        )
        attention = AttentionNeed(kind="full", token_bytes=token_bytes)
        backend = attention_backend(
            resolved.gpu.capability, resolved.kv_cache_dtype, rules, head_sizes=frozenset({shape.head_dim}), mm_prefix=False, has_sink=False
        )
    parts: dict[str, tuple[Need, ...]] = {ATTENTION: (attention,), STATE: (state,), BOTH: (state, attention), NEITHER: ()}
    ordered = tuple(kinds)
    present = set(ordered)
    return ModelNeeds(
        layers=tuple(map(parts.__getitem__, ordered)),
        backend=backend,
        # A hybrid class whose layers all attend is planned like any other model.
        state=state if present & {STATE, BOTH} else None,
        is_hybrid=bool(present & {ATTENTION, BOTH}),
        attention_token_bytes=token_bytes,
        uses_mla=shape.uses_mla,
        head_dim=shape.head_dim,
        block_alignment=block_alignment,
        chunk_size=chunk_size,
        supports_mode_all=supports_mode_all,
    )


def _jamba(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    text = config.text
    state_bytes = mamba1_bytes(
        resolved,
        inner=text.int("mamba_expand", default=2) * shape.hidden_size,
        state_size=text.int("mamba_d_state", default=16),
        conv_kernel=text.int("mamba_d_conv", default=4),
    )
    period = positive(text, "attn_layer_period", text.int("attn_layer_period", default=8), MAX_LAYERS)
    offset = text.int("attn_layer_offset", default=4)
    kinds = [ATTENTION if i % period == offset else STATE for i in range(shape.layers)]
    state = state_need(resolved, rules, state_bytes, role="mamba1", supports_all=True)
    return _compose(shape, resolved, rules, kinds, state, chunk_size=_chunk(text), supports_mode_all=True)


def _mamba2_hybrid(
    config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules, kinds: list[str], *, inner: int, groups: int,
    heads: int, head_dim: int, state_size: int, conv_kernel: int, ssm_dtype: str | None = None,
) -> ModelNeeds:  # fmt: skip
    state_bytes = mamba2_bytes(
        resolved, inner=inner, groups=groups, heads=heads, head_dim=head_dim, state_size=state_size, conv_kernel=conv_kernel,
        ssm_dtype=ssm_dtype,
    )  # fmt: skip
    state = state_need(resolved, rules, state_bytes, role="mamba2", supports_all=True, checkpoints=rules.mamba2_checkpoints)
    return _compose(shape, resolved, rules, kinds, state, chunk_size=_chunk(config.text), supports_mode_all=True)


def _nemotron_h(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    text = config.text
    kinds = _nemotron_kinds(text)
    heads, head_dim = text.int("mamba_num_heads"), text.int("mamba_head_dim")
    return _mamba2_hybrid(
        config, shape, resolved, rules, kinds,
        inner=heads * head_dim, groups=text.int("n_groups", default=8), heads=heads, head_dim=head_dim,
        state_size=text.int("ssm_state_size", default=128), conv_kernel=text.int("conv_kernel", default=4),
        ssm_dtype=text.str_or_none("mamba_ssm_cache_dtype") or "float32",
    )  # fmt: skip


def _nemotron_kinds(text: HfConfig) -> list[str]:
    pattern = text.str_or_none("hybrid_override_pattern")
    if pattern is not None:
        return [{"M": STATE, "*": ATTENTION}.get(letter, NEITHER) for letter in pattern]
    names = text.list_or_none("layers_block_type") or text.list_or_none("layer_types")
    if names is None:
        raise InvalidInput(f"{text.path}.hybrid_override_pattern", None, "is required")
    return [_LAYER_NAMES.get(str(name), NEITHER) for name in names]


def _granite_hybrid(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    text = config.text
    names = text.list_or_none("layer_types") or text.list_or_none("layers_block_type") or ("mamba",) * shape.layers
    return _mamba2_hybrid(
        config, shape, resolved, rules, [_LAYER_NAMES.get(str(name), ATTENTION) for name in names],
        inner=text.int("mamba_expand", default=2) * shape.hidden_size, groups=text.int("mamba_n_groups", default=1),
        heads=text.int("mamba_n_heads", default=128), head_dim=text.int("mamba_d_head", default=64),
        state_size=text.int("mamba_d_state", default=256), conv_kernel=text.int("mamba_d_conv", default=4),
    )  # fmt: skip


def _bamba(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    text = config.text
    attends = set(text.list_or_none("attn_layer_indices") or ())
    return _mamba2_hybrid(
        config, shape, resolved, rules, [ATTENTION if i in attends else STATE for i in range(shape.layers)],
        inner=text.int("mamba_expand", default=2) * shape.hidden_size, groups=text.int("mamba_n_groups", default=1),
        heads=text.int("mamba_n_heads", default=128), head_dim=text.int("mamba_d_head", default=64),
        state_size=text.int("mamba_d_state", default=256), conv_kernel=text.int("mamba_d_conv", default=4),
    )  # fmt: skip


def _falcon_h1(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    text = config.text
    inner = text.int_or_none("mamba_d_ssm") or text.int("mamba_expand", default=2) * shape.hidden_size
    return _mamba2_hybrid(
        config, shape, resolved, rules, [BOTH] * shape.layers,
        inner=inner, groups=text.int("mamba_n_groups", default=1), heads=text.int("mamba_n_heads", default=128),
        head_dim=text.int("mamba_d_head", default=64), state_size=text.int("mamba_d_state", default=256),
        conv_kernel=text.int("mamba_d_conv", default=4),
    )  # fmt: skip


def _zamba2(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Every layer has a Mamba2 mixer; "hybrid" layers put a shared attention block in front of it."""
    text = config.text
    names = text.list_or_none("layers_block_type")
    hybrid = set(text.list_or_none("hybrid_layer_ids") or ())
    kinds = [BOTH if (names[i] == "hybrid" if names and i < len(names) else i in hybrid) else STATE for i in range(shape.layers)]
    shape = replace(shape, head_dim=text.int("attention_head_dim", default=2 * shape.hidden_size // shape.heads))
    return _mamba2_hybrid(
        config, shape, resolved, rules, kinds,
        inner=text.int("mamba_expand", default=2) * shape.hidden_size, groups=text.int("mamba_ngroups", default=1),
        heads=text.int("n_mamba_heads", default=8), head_dim=text.int("mamba_headdim", default=64),
        state_size=text.int("mamba_d_state", default=64), conv_kernel=text.int("mamba_d_conv", default=4),
    )  # fmt: skip


def _gated_delta_net(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Qwen3-Next, Qwen3.5: linear attention with every n-th layer full."""
    text = config.text
    state_bytes = gated_delta_net_bytes(
        resolved,
        key_heads=text.int("linear_num_key_heads", default=16),
        value_heads=text.int("linear_num_value_heads", default=32),
        key_dim=text.int("linear_key_head_dim", default=128),
        value_dim=text.int("linear_value_head_dim", default=128),
        conv_kernel=text.int("linear_conv_kernel_dim", default=4),
        ssm_dtype=text.str_or_none("mamba_ssm_dtype") if shape.model_type.startswith("qwen3_5") else None,
    )
    types = text.list_or_none("layer_types")
    period = positive(text, "full_attention_interval", text.int("full_attention_interval", default=4), MAX_LAYERS)
    linear = [types[i] == "linear_attention" if types and i < len(types) else (i + 1) % period != 0 for i in range(shape.layers)]
    checkpoints = rules.gdn_checkpoints and resolved.gpu.capability // 10 == 9 and shape.model_type != "olmo_hybrid"
    state = state_need(resolved, rules, state_bytes, role="gdn", checkpoints=checkpoints)
    return _compose(
        shape, resolved, rules, [STATE if flag else ATTENTION for flag in linear], state,
        block_alignment=GDN_CHECKPOINT_ALIGNMENT if checkpoints else 1,
    )  # fmt: skip


def _kimi_linear(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Kimi delta attention with latent attention in between (layer numbers in `linear_attn_config` count from one)."""
    text = config.text
    nested = text.sub("linear_attn_config")
    if nested is not None:
        heads, head_dim = nested.int("num_heads"), nested.int("head_dim")
        kernel = nested.int("short_conv_kernel_size", default=4)
        linear = set(nested.list_or_none("kda_layers") or ())
        kinds = [STATE if i + 1 in linear else ATTENTION for i in range(shape.layers)]
    else:
        heads, head_dim = text.int("linear_num_heads"), text.int("linear_head_dim")
        kernel = text.int("linear_conv_kernel_dim", default=4)
        types = text.list_or_none("layer_types") or ()
        kinds = [STATE if i < len(types) and types[i] == "linear_attention" else ATTENTION for i in range(shape.layers)]
    state = state_need(resolved, rules, kda_bytes(resolved, heads=heads, head_dim=head_dim, conv_kernel=kernel), role="kda")
    return _compose(shape, resolved, rules, kinds, state)


def _minimax_lightning(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """MiniMax-Text-01 and M1: `attn_type_list` or `layer_types` tell lightning (0) from full (1)."""
    text = config.text
    flags = text.list_or_none("attn_type_list") or text.list_or_none("layer_types") or ()
    kinds = [ATTENTION if i < len(flags) and flags[i] in (1, "full_attention") else STATE for i in range(shape.layers)]
    state = state_need(resolved, rules, lightning_bytes(resolved, heads=shape.heads, head_dim=shape.head_dim), role="lightning")
    return _compose(shape, resolved, rules, kinds, state)


def _bailing_linear(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Ring and Ling linear: the last layer of every group attends."""
    period = config.text.int("layer_group_size", default=1)
    kinds = [STATE if period > 0 and (i + 1) % period else ATTENTION for i in range(shape.layers)]
    state = state_need(resolved, rules, lightning_bytes(resolved, heads=shape.heads, head_dim=shape.head_dim), role="lightning")
    return _compose(shape, resolved, rules, kinds, state)


def _lfm2(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    text = config.text
    types = text.list_or_none("layer_types")
    attends = set(text.list_or_none("full_attn_idxs") or range(shape.layers))
    if types is not None:
        attends = {i for i, name in enumerate(types) if name == "full_attention"}
    kinds = [ATTENTION if i in attends else STATE for i in range(shape.layers)]
    width = text.int_or_none("conv_dim") or shape.hidden_size
    state = state_need(resolved, rules, short_conv_bytes(resolved, width=width, kernel=text.int("conv_L_cache", default=3)), role="conv")
    return _compose(shape, resolved, rules, kinds, state)


def mamba_only(config: HfConfig, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Models of nothing but Mamba layers."""
    text = config.text
    hidden, layers = (
        text.int("hidden_size", "d_model"),
        positive(text, "num_hidden_layers", text.int("num_hidden_layers", "n_layer"), MAX_LAYERS),
    )
    conv_kernel, second = text.int("conv_kernel", default=4), text.model_type == "mamba2"
    if second:
        state_bytes = mamba2_bytes(
            resolved, inner=text.int("expand", default=2) * hidden, groups=text.int("n_groups", default=8),
            heads=text.int("num_heads", default=128), head_dim=text.int("head_dim", default=64),
            state_size=text.int("state_size", default=128), conv_kernel=conv_kernel,
        )  # fmt: skip
    else:
        inner = text.int_or_none("intermediate_size", "d_inner") or text.int("expand", default=2) * hidden
        state_bytes = mamba1_bytes(resolved, inner=inner, state_size=text.int("state_size", default=16), conv_kernel=conv_kernel)
    state = state_need(
        resolved,
        rules,
        state_bytes,
        role="mamba2" if second else "mamba1",
        supports_all=True,
        checkpoints=second and rules.mamba2_checkpoints,
    )
    return ModelNeeds(
        layers=((state,),) * layers, backend=Backend(name="NONE"), state=state, supports_mode_all=True, chunk_size=_chunk(text)
    )


def _chunk(text: HfConfig) -> int:
    """Tokens per chunk of the state kernels; Mamba1 has none and vLLM takes 2048."""
    return positive(text, "chunk_size", text.int("mamba_chunk_size", "chunk_size", default=2048), MAX_WIDTH)


Family = Callable[[HfConfig, TextShape, ResolvedArgs, PlannerRules], ModelNeeds]
MAMBA_ONLY: Final = frozenset({"mamba", "mamba2", "falcon_mamba"})
HYBRID_FAMILIES: Final[dict[str, Family]] = {
    "jamba": _jamba,
    "nemotron_h": _nemotron_h,
    "granitemoehybrid": _granite_hybrid,
    "bamba": _bamba,
    "falcon_h1": _falcon_h1,
    "zamba2": _zamba2,
    "qwen3_next": _gated_delta_net,
    "qwen3_5": _gated_delta_net,
    "qwen3_5_text": _gated_delta_net,
    "qwen3_5_moe": _gated_delta_net,
    "qwen3_5_moe_text": _gated_delta_net,
    "olmo_hybrid": _gated_delta_net,
    "kimi_linear": _kimi_linear,
    "minimax": _minimax_lightning,
    "minimax_text_01": _minimax_lightning,
    "minimax_m1": _minimax_lightning,
    "bailing_moe_linear": _bailing_linear,
    "bailing_hybrid": _bailing_linear,
    "lfm2": _lfm2,
    "lfm2_moe": _lfm2,
}
