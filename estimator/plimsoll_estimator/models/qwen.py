"""Qwen 1 to 3, dense and with experts, and Qwen3-Next and Qwen 3.5 with Gated DeltaNet.

`models.register` names it; the Qwens with towers and whoever borrows its blocks are its heirs. Knows no quantisation.
Sources: vllm/model_executor/models/{qwen,qwen2,qwen2_rm,qwen3,qwen2_moe,qwen3_moe,qwen3_next,qwen3_5}.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import (
    DecoderStyle,
    build_decoder,
    everywhere,
    has_bias,
    stack,
)
from plimsoll_estimator.layers.experts import MoeStyle, build_moe, check_expert_count, feed_forward
from plimsoll_estimator.layers.predictions import decoder_modules
from plimsoll_estimator.layers.rank import FLOAT32, Rank, divide
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import delta_net
from plimsoll_estimator.mixers import DeltaNet, Experts, Mixer, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, unless_causal
from plimsoll_estimator.models.stacks import ATTENDS, Layers, by_name, dense, hybrid, routed_experts, sparse_from
from plimsoll_estimator.reader import MAX_LAYERS, positive
from plimsoll_estimator.shape import Dimensions, Layer

QWEN2 = DecoderStyle(qkv_bias="yes")
QWEN3 = DecoderStyle(qkv_bias=("attention_bias",), qk_norm="head")


def qwen(rank: Rank) -> None:
    """QWenLMHeadModel: biased query, key and value; `intermediate_size` counts both halves of the gated MLP."""
    style = DecoderStyle(qkv_bias="yes", attention="attn", o_name="c_proj", mlp_names=("w2", "w1"), down_name="c_proj")
    build_decoder(rank, style)


def _mlp_only(text: HfConfig) -> frozenset[int]:
    return frozenset(i for i in text.list_or_none("mlp_only_layers") or () if isinstance(i, int))


def qwen2_moe(rank: Rank) -> None:
    """Qwen2MoeForCausalLM: a gated shared expert."""
    check_expert_count(rank)
    build_moe(rank, everywhere(QWEN2), MoeStyle(shared_gate=True, shared_name="shared_expert"))


def qwen3_moe(rank: Rank) -> None:
    """Qwen3MoeForCausalLM."""
    check_expert_count(rank)
    build_moe(rank, everywhere(QWEN3), MoeStyle())


@cache
def _qwen_next_style(*, split_names: bool) -> DecoderStyle:
    return replace(
        QWEN3,
        partial_rotary=0.25,
        every_stage=("embedding",) if split_names else ("embedding", "head"),
        ties=split_names,
    )


_NEXT_MOE = MoeStyle(shared_gate=True, shared_name="shared_expert", unsplit_since=EngineVersion(0, 20))


def qwen_next(rank: Rank, split_names: bool) -> None:
    """Qwen3-Next and Qwen3.5: Gated DeltaNet layers, and gated attention every so often; a shared expert behind a gate."""
    text, size = rank.text, rank.shape.size
    factor = 1 if rank.version.since(0, 32) and split_names else 4
    style = _qwen_next_style(split_names=split_names)
    query_heads = size.heads * (2 if text.bool("attn_output_gate", True) else 1)

    def gated_attention(name: str) -> None:
        parent = f"{name}.self_attn"
        rank.qkv(parent, size.hidden_size, query_heads, size.kv_heads, size.head_dim, bias=has_bias(text, style.qkv_bias))
        rank.row(parent, "o_proj", size.heads * size.head_dim, size.hidden_size)
        rank.norm(size.head_dim, count=2)
        rank.attention_scales(parent)
        rope(rank, size.head_dim, size.positions, partial=style.partial_rotary, mrope_factor=factor)

    def layer(i: int) -> None:
        name, made = f"layers.{i}", rank.shape.layers[i]
        if made.attends:
            gated_attention(name)
        else:
            delta_net(rank, f"{name}.linear_attn", size.hidden_size, made.mixer(DeltaNet), split_names=split_names)
        feed_forward(rank, name, made.ffn, style, _NEXT_MOE)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, style, layer, rank.kind)
    modules = rank.modules()
    if modules:
        # qwen3_5_mtp.py, qwen3_next_mtp.py: attention layers after a joint projection; embedding and head are the target's.
        rank.column("mtp", ("fc",), 2 * size.hidden_size, (size.hidden_size,), tp=1)
        rank.norm(size.hidden_size, count=3)
        for i, module in enumerate(modules):
            gated_attention(f"mtp.layers.{i}")
            feed_forward(rank, f"mtp.layers.{i}", module.ffn, style, _NEXT_MOE)
            rank.norm(size.hidden_size, count=2)


def _shared_block(text: HfConfig) -> Experts:
    return routed_experts(text, text.int("moe_intermediate_size"), shared=text.int_or_none("shared_expert_intermediate_size") or 0)


def _interleaved(text: HfConfig, size: Dimensions, state_dtype: str | None) -> list[tuple[Mixer, ...]]:
    """Gated DeltaNet, and attention where `layer_types` says so, else in every `full_attention_interval`-th layer."""
    every = positive(text, "full_attention_interval", default=4, limit=MAX_LAYERS)
    count = size.layer_count
    attends = by_name(text, count, ATTENDS, "layer_types") or [(i + 1) % every == 0 for i in range(count)]
    return hybrid(attends, stacks.attention(size), stacks.delta_net(text, state_dtype=state_dtype))


def _next(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Qwen3NextDecoderLayer: experts in every `decoder_sparse_step`-th layer but those of `mlp_only_layers`."""
    step = positive(text, "decoder_sparse_step", default=1)
    ffns = sparse_from(size, _shared_block(text), step=step, dense=_mlp_only(text))
    return stacks.stack(_interleaved(text, size, None), ffns)


def _next_5(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Qwen3_5DecoderLayer with MLPs; states are kept as `mamba_ssm_dtype` says."""
    ffns = [Mlp(width=size.intermediate_size)] * size.layer_count
    return stacks.stack(_interleaved(text, size, text.str_or_none("mamba_ssm_dtype")), ffns)


def _next_5_sparse(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Qwen3_5DecoderLayer with experts in every layer."""
    ffns = [_shared_block(text)] * size.layer_count
    return stacks.stack(_interleaved(text, size, text.str_or_none("mamba_ssm_dtype")), ffns)


def _sparse(shared: bool) -> Layers:
    """Experts in every `decoder_sparse_step`-th layer but those of `mlp_only_layers`; attention never gets a window."""

    def layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
        block = _shared_block(text) if shared else routed_experts(text, text.int("moe_intermediate_size"), shared=0)
        ffns = sparse_from(size, block, step=positive(text, "decoder_sparse_step", default=1), dense=_mlp_only(text))
        return stacks.attending([stacks.attention(size)] * size.layer_count, ffns)

    return layers


def _halved(text: HfConfig) -> Mapping[str, int]:
    """QWenLMHeadModel's `intermediate_size` counts both halves of the gated MLP."""
    return {"intermediate_size": text.int("intermediate_size") // 2}


def mimo(rank: Rank) -> None:
    """MiMoForCausalLM: Qwen 2, and prediction modules of its layer (mimo_mtp.py)."""
    build_decoder(rank, QWEN2)
    decoder_modules(rank, QWEN2, MoeStyle())


def qwen2_reward(rank: Rank, labels: int) -> None:
    """Qwen2ForRewardModel and ...ProcessRewardModel (qwen2_rm.py): on every stage two linears for a score, in the heads' float32."""
    build_decoder(rank, QWEN2)
    hidden = rank.shape.size.hidden_size
    mine = divide(hidden, rank.tp)
    rank.whole(hidden, mine, bias=True, item=FLOAT32)
    rank.whole(mine, labels, bias=True, item=FLOAT32)


_UNWINDOWED = dense(windows=False)
_one_module = partial(stacks.predicted, silent=1)
"""The files do not count modules; qwen3_next_mtp.py and qwen3_5_mtp.py (0.10.2 to 0.32.0) build one then: `getattr(config, .., 1)`."""
DENSE_2 = Model(
    classes=("Qwen2ForCausalLM",),
    model_types=("qwen2",),
    weights=partial(build_decoder, style=QWEN2),
    layers=_UNWINDOWED,
    encodes=unless_causal,
)
MIMO = replace(DENSE_2, classes=("MiMoForCausalLM",), model_types=("mimo",), weights=mimo, drafter="MiMoMTPModel")
DENSE_3 = Model(
    classes=("Qwen3ForCausalLM",),
    model_types=("qwen3",),
    weights=partial(build_decoder, style=QWEN3),
    layers=_UNWINDOWED,
    encodes=unless_causal,
)
SPARSE_3 = Model(classes=("Qwen3MoeForCausalLM",), model_types=("qwen3_moe",), weights=qwen3_moe, layers=_sparse(shared=False))
NEXT_5 = Model(
    classes=("Qwen3_5ForCausalLM",),
    model_types=("qwen3_5_text", "qwen3_5"),
    weights=partial(qwen_next, split_names=True),
    layers=_next_5,
    predictions=_one_module,
    drafter="Qwen3_5MTP",
)
NEXT_5_SPARSE = Model(
    classes=("Qwen3_5MoeForCausalLM",),
    model_types=("qwen3_5_moe_text", "qwen3_5_moe"),
    weights=partial(qwen_next, split_names=True),
    layers=_next_5_sparse,
    predictions=_one_module,
    drafter="Qwen3_5MoeMTP",
)
MODELS = (
    Model(classes=("QWenLMHeadModel",), model_types=("qwen",), weights=qwen, layers=dense(), overrides=_halved),
    DENSE_2,
    replace(DENSE_2, classes=("Qwen2ForRewardModel",), weights=partial(qwen2_reward, labels=1)),
    replace(DENSE_2, classes=("Qwen2ForProcessRewardModel",), weights=partial(qwen2_reward, labels=2)),
    MIMO,
    DENSE_3,
    Model(classes=("Qwen2MoeForCausalLM",), model_types=("qwen2_moe",), weights=qwen2_moe, layers=_sparse(shared=True)),
    SPARSE_3,
    Model(
        classes=("Qwen3NextForCausalLM",),
        model_types=("qwen3_next",),
        weights=partial(qwen_next, split_names=False),
        layers=_next,
        predictions=_one_module,
        drafter="Qwen3NextMTP",
    ),
    NEXT_5,
    NEXT_5_SPARSE,
)
