"""Qwen 1 to 3, dense and with experts, and Qwen3-Next and Qwen 3.5 with Gated DeltaNet.

`models.register` names it; the Qwens with towers and whoever borrows its blocks are its heirs. Knows no quantisation.
Sources: vllm/model_executor/models/{qwen,qwen2,qwen3,qwen2_moe,qwen3_moe,qwen3_next,qwen3_5}.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import ATTENTION, STATE, mixed_caches
from plimsoll_estimator.layers.decoder import (
    MAX_DRAFT_LAYERS,
    DecoderStyle,
    build_decoder,
    build_plain,
    everywhere,
    has_bias,
    mlp,
    sizes,
    stack,
)
from plimsoll_estimator.layers.experts import MoeStyle, build_moe, check_expert_count, expert_count, moe
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank, positive
from plimsoll_estimator.layers.recurrent import GDN_CHECKPOINT_ALIGNMENT, gated_delta_net_bytes, state_need
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import delta_net
from plimsoll_estimator.layers.text_shape import TextShape, within
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, unless_causal
from plimsoll_estimator.models.stacks import Layers, dense, routed_experts, sparse_from
from plimsoll_estimator.reader import MAX_LAYERS, language
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.shape import Dimensions, Layer

QWEN2 = DecoderStyle(qkv_bias="yes")
QWEN3 = DecoderStyle(qkv_bias=("attention_bias",), qk_norm="head")


def qwen(rank: Rank) -> None:
    """QWenLMHeadModel: biased query, key and value; `intermediate_size` counts both halves of the gated MLP."""
    style = DecoderStyle(qkv_bias="yes", attention="attn", o_name="c_proj", mlp_names=("w2", "w1"), down_name="c_proj")
    build_plain(rank, style, rank.text, halves=True)


_QWEN = MoeStyle(intermediate=("moe_intermediate_size",))


def _mlp_only(text: HfConfig) -> frozenset[int]:
    return frozenset(i for i in text.list_or_none("mlp_only_layers") or () if isinstance(i, int))


def qwen2_moe(rank: Rank) -> None:
    """Qwen2MoeForCausalLM: a gated shared expert."""
    text = rank.text
    check_expert_count(rank, expert_count(text))
    sparse = replace(_QWEN, shared="size", shared_gate=True, shared_name="shared_expert")
    build_moe(rank, everywhere(QWEN2), sparse, step=positive(text, "decoder_sparse_step", default=1), listed=_mlp_only(text))


def qwen3_moe(rank: Rank) -> None:
    """Qwen3MoeForCausalLM."""
    text = rank.text
    check_expert_count(rank, expert_count(text))
    build_moe(rank, everywhere(QWEN3), _QWEN, step=positive(text, "decoder_sparse_step", default=1), listed=_mlp_only(text))


@cache
def _qwen_next_style(mrope_factor: int, *, split_names: bool) -> DecoderStyle:
    return replace(
        QWEN3,
        partial_rotary=0.25,
        embedding_always=True,
        head_always=not split_names,
        ties=split_names,
        mrope_factor=mrope_factor,
        head_dim=256,
    )


def qwen_next(rank: Rank, split_names: bool, sparse: bool) -> None:
    """Qwen3-Next and Qwen3.5: three Gated DeltaNet layers to one of gated attention, shared expert behind a gate."""
    text = rank.text
    factor = 1 if rank.version.since(0, 32) and split_names else 4
    style = _qwen_next_style(factor, split_names=split_names)
    size = sizes(text, style, rank.config)
    query_heads = size.heads * (2 if text.bool("attn_output_gate", True) else 1)
    every = text.int("full_attention_interval", default=4)
    kinds = text.list_or_none("layer_types")
    block = MoeStyle(
        shared="size",
        shared_gate=True,
        shared_name="shared_expert",
        unsplit_since=EngineVersion(0, 20),
        intermediate=("moe_intermediate_size",),
    )
    dense_layers = text.list_or_none("mlp_only_layers") or ()
    step = positive(text, "decoder_sparse_step", default=1)

    def full(i: int) -> bool:
        return kinds[i] == "full_attention" if kinds is not None and i < len(kinds) else (i + 1) % max(every, 1) == 0

    @cache
    def has_experts() -> bool:
        return expert_count(text) > 0

    def routed(i: int) -> bool:
        return sparse and i not in dense_layers and (i + 1) % step == 0 and has_experts()

    def gated_attention(name: str) -> None:
        parent = f"{name}.self_attn"
        rank.qkv(parent, size.hidden_size, query_heads, size.kv_heads, size.head_dim, bias=has_bias(text, style.qkv_bias))
        rank.row(parent, "o_proj", size.heads * size.head_dim, size.hidden_size)
        rank.norm(size.head_dim, count=2)
        rank.attention_scales(parent)
        rope(rank, size.head_dim, size.positions, partial=style.partial_rotary, mrope_factor=factor)

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if full(i):
            gated_attention(name)
        else:
            delta_net(rank, f"{name}.linear_attn", text, split_names)
        if routed(i):
            moe(rank, name, size.hidden_size, block)
        else:
            mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, style)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, style, layer, lambda i: (full(i), routed(i)))
    if rank.drafts_by_mtp:
        # qwen3_5_mtp.py, qwen3_next_mtp.py: attention layers after a joint projection; embedding and head are the target's.
        rank.column("mtp", ("fc",), 2 * size.hidden_size, (size.hidden_size,), tp=1)
        rank.norm(size.hidden_size, count=3)
        for i in range(min(text.int("mtp_num_hidden_layers", "num_nextn_predict_layers", default=0), MAX_DRAFT_LAYERS)):
            gated_attention(f"mtp.layers.{i}")
            if sparse:
                moe(rank, f"mtp.layers.{i}", size.hidden_size, block)
            else:
                mlp(rank, f"mtp.layers.{i}.mlp", size.hidden_size, size.intermediate_size, style)
            rank.norm(size.hidden_size, count=2)


def delta_net_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Qwen3-Next, Qwen3.5: linear attention with every n-th layer full."""
    text = language(config)
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
    period = within(text, "full_attention_interval", text.int("full_attention_interval", default=4), MAX_LAYERS)
    linear = [types[i] == "linear_attention" if types and i < len(types) else (i + 1) % period != 0 for i in range(shape.layers)]
    checkpoints = rules.gdn_checkpoints and resolved.gpu.capability // 10 == 9 and shape.model_type != "olmo_hybrid"
    state = state_need(resolved, rules, state_bytes, role="gdn", checkpoints=checkpoints)
    return mixed_caches(
        shape, resolved, rules, [STATE if flag else ATTENTION for flag in linear], state,
        block_alignment=GDN_CHECKPOINT_ALIGNMENT if checkpoints else 1,
    )  # fmt: skip


def _sparse(shared: bool) -> Layers:
    """Experts in every `decoder_sparse_step`-th layer but those of `mlp_only_layers`; attention never gets a window."""

    def layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
        beside = (text.int_or_none("shared_expert_intermediate_size") or 0) if shared else 0
        block = routed_experts(text, text.int("moe_intermediate_size"), shared=beside)
        ffns = sparse_from(size, block, step=positive(text, "decoder_sparse_step", default=1), dense=_mlp_only(text))
        return stacks.stack([(stacks.attention(size),)] * size.num_hidden_layers, ffns)

    return layers


def _halved(text: HfConfig) -> Mapping[str, int]:
    """QWenLMHeadModel's `intermediate_size` counts both halves of the gated MLP."""
    return {"intermediate_size": text.int("intermediate_size") // 2}


_UNWINDOWED = dense(windows=False)
DENSE_2 = Model(
    classes=("Qwen2ForCausalLM", "MiMoForCausalLM"),
    model_types=("qwen2", "mimo"),
    weights=partial(build_decoder, style=QWEN2),
    layers=_UNWINDOWED,
    encodes=unless_causal,
)
DENSE_3 = Model(
    classes=("Qwen3ForCausalLM",),
    model_types=("qwen3",),
    weights=partial(build_decoder, style=QWEN3),
    layers=_UNWINDOWED,
    encodes=unless_causal,
)
SPARSE_3 = Model(classes=("Qwen3MoeForCausalLM",), model_types=("qwen3_moe",), weights=qwen3_moe, layers=_sparse(shared=False))
MODELS = (
    Model(classes=("QWenLMHeadModel",), model_types=("qwen",), weights=qwen, layers=dense(), overrides=_halved),
    DENSE_2,
    DENSE_3,
    Model(classes=("Qwen2MoeForCausalLM",), model_types=("qwen2_moe",), weights=qwen2_moe, layers=_sparse(shared=True)),
    SPARSE_3,
)
