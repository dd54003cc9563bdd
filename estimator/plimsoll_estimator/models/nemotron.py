"""Nemotron: dense, NAS (DeciLM) with blocks of their own, and H with one mixer a layer.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{nemotron,nemotron_nas,nemotron_h}.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, build_decoder, everywhere, mlp, stack
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.rope import rope
from plimsoll_estimator.layers.state import mamba2
from plimsoll_estimator.mixers import Attention, Experts, Mamba2, Mixer, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import by_name, dense, predicted
from plimsoll_estimator.reader import MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.units import round_up

NEMOTRON = DecoderStyle(
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_bias=("mlp_bias",),
    gated=False,
    mlp_names=("up_proj",),
    norm_bias=True,
    partial_rotary=0.5,
)
_NAS: Final = DecoderStyle(qkv_bias=("attention_bias", "bias"), o_bias=("attention_bias", "bias"), mlp_bias=("mlp_bias",))
_H: Final = everywhere(DecoderStyle(ties=False, gated=False, mlp_names=("up_proj",), attention="mixer", mlp_bias=("mlp_bias",)))
_LETTERS: Final = {"linear_attention": "M", "mamba": "M", "full_attention": "*", "attention": "*", "mlp": "-", "moe": "E"}
_DEFAULT: Final = "ME*-"
"""NemotronHConfig's layers where the file has neither a list nor a pattern."""


def nemotron_nas(rank: Rank) -> None:
    """DeciLMForCausalLM (Nemotron-NAS): every block has its own key-value heads and MLP width, or lacks one of them."""
    size = rank.shape.size

    def layer(i: int) -> None:
        name, made = f"layers.{i}", rank.shape.layers[i]
        if made.attends:
            attention(rank, name, size._replace(kv_heads=made.mixer(Attention).kv_heads), _NAS)
            rank.norm(size.hidden_size)
            rope(rank, size.head_dim, size.positions)
        if isinstance(made.ffn, Mlp):
            mlp(rank, f"{name}.mlp", size.hidden_size, made.ffn.width, _NAS)
            rank.norm(size.hidden_size)

    stack(rank, size, _NAS, layer, rank.kind)


def _block(config: HfConfig, index: int) -> tuple[HfConfig, HfConfig]:
    blocks = config.list_or_none("block_configs") or ()
    if index >= len(blocks) or not isinstance(blocks[index], Mapping):
        raise InvalidInput(f"{config.path}.block_configs", len(blocks), f"must have an object for layer {index}")
    block = HfConfig(blocks[index], f"{config.path}.block_configs[{index}]")
    empty = HfConfig({}, block.path)
    return block.sub("attention") or empty, block.sub("ffn") or empty


def _nas(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """`block_configs` gives each layer its own number of key-value heads and MLP width, or neither."""
    full = stacks.attention(size)
    mixers: list[tuple[Mixer, ...]] = []
    ffns: list[Mlp | None] = []
    for i in range(size.layer_count):
        heads, ffn = _block(text, i)
        mixers.append(() if heads.bool("no_op") else (replace(full, kv_heads=_kv_heads(heads, size)),))
        ffns.append(None if ffn.bool("no_op") else Mlp(width=_ffn_width(ffn, size)))
    return stacks.stack(mixers, ffns)


def _kv_heads(attention: HfConfig, size: Dimensions) -> int:
    return max(1, size.heads // positive(attention, "n_heads_in_group", limit=MAX_WIDTH))


def _ffn_width(ffn: HfConfig, size: Dimensions) -> int:
    """The width stated, or two thirds of a multiple of the hidden size, in steps of 256."""
    ratio = ffn.float_or_none("ffn_mult")
    return ffn.int("intermediate_size") if ratio is None else round_up(int(2 * ratio * size.hidden_size / 3), 256)


def nemotron_h(rank: Rank) -> None:
    """NemotronHForCausalLM: one mixer, MLP or block of experts (perhaps latent) per layer."""
    text, size = rank.text, rank.shape.size
    bias, conv_bias = text.bool("use_bias"), text.bool("mamba_conv_bias", text.bool("use_conv_bias", True))

    def layer(i: int) -> None:
        name, made = f"layers.{i}", rank.shape.layers[i]
        if made.attends:
            attention(rank, name, size, _H)
        elif made.mixers:
            mamba2(rank, f"{name}.mixer", size.hidden_size, made.mixer(Mamba2), bias=bias, conv_bias=conv_bias)
        elif isinstance(made.ffn, Experts):
            _experts(rank, f"{name}.mixer", size.hidden_size, made.ffn)
        elif made.ffn is not None:
            mlp(rank, f"{name}.mixer", size.hidden_size, made.ffn.width, _H)
        rank.norm(size.hidden_size)

    stack(rank, size, _H, layer, rank.kind)
    # nemotron_h_mtp.py: attention and experts after a joint projection; embedding and head are the target's.
    for i, module in enumerate(rank.modules()):
        name = f"mtp.layers.{i}"
        rank.column(name, ("eh_proj",), 2 * size.hidden_size, (size.hidden_size,))
        for _ in module.mixers:
            attention(rank, name, size, _H)
        if isinstance(module.ffn, Experts):
            _experts(rank, f"{name}.mixer", size.hidden_size, module.ffn)
        rank.norm(size.hidden_size, count=3 + len(module.mixers) + module.routed)


def _h_predictions(text: HfConfig, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Attention and experts as `mtp_hybrid_override_pattern` or `mtp_layers_block_type` say; NemotronHConfig fills in one of each."""
    modules = predicted(text, layers)
    if not modules:
        return ()
    spelled = text.raw("mtp_hybrid_override_pattern") or text.raw("mtp_layers_block_type") or "*E"
    listed = tuple(spelled) if isinstance(spelled, str | list | tuple) else ("*", "E")
    attends = sum(kind in ("*", "attention", "full_attention") for kind in listed)
    routed = next((layer.ffn for layer in layers if layer.routed), None) if any(kind in ("E", "moe") for kind in listed) else None
    return (Layer(mixers=modules[0].mixers * attends, ffn=routed),) * len(modules)


def _experts(rank: Rank, parent: str, hidden: int, block: Experts) -> None:
    bias, latent = rank.text.bool("mlp_bias"), rank.text.int_or_none("moe_latent_size")
    capability = rank.resolved.gpu.capability
    # GateLinear keeps float32 weights where no kernel computes bfloat16 in float32.
    rank.tensor(block.count * hidden, None if capability == 90 or capability // 10 == 10 else 4)
    rank.tensor(block.count, 4)
    rank.experts(f"{parent}.experts", block.count, latent or hidden, block.width, gated=False)
    if latent:
        rank.replicated(parent, ("fc1_latent_proj",), hidden, (latent,), bias=bias)
        rank.replicated(parent, ("fc2_latent_proj",), latent, (hidden,), bias=bias)
    if block.shared:
        mlp(rank, f"{parent}.shared_experts", hidden, block.shared, _H, rank.shared_experts_tp(EngineVersion(0, 11)))


def _pattern(text: HfConfig) -> str:
    """One letter a layer: M Mamba 2, * attention, - MLP, E experts. NemotronHConfig: a list wins over a pattern.

    Raises Unsupported naming a letter or a kind without a rule; `|`, with which training code marks stages, is one: the class refuses it.
    """
    listed = text.list_or_none("layers_block_type") or text.list_or_none("layer_types")
    if listed:
        return "".join(by_name(text, len(listed), _LETTERS, "layers_block_type", "layer_types") or ())
    pattern = text.str_or_none("hybrid_override_pattern") or _DEFAULT
    for letter in dict.fromkeys(pattern):
        if letter not in "M*-E":
            raise Unsupported(Check.KV_CACHE_FAMILY, f"no KV-cache rule for layers of type {letter!r} in model type {text.model_type!r}")
    return pattern


def _mlp_widths(text: HfConfig, count: int) -> list[int]:
    """The widths of `count` MLPs: one for all, or a list with one for each in turn."""
    if not isinstance(text.raw("intermediate_size"), list | tuple):
        return [text.int("intermediate_size")] * count
    listed = text.list_or_none("intermediate_size") or ()
    widths = [width for width in listed if isinstance(width, int) and 1 <= width <= MAX_WIDTH]
    if not widths or len(widths) < len(listed) or 1 < len(widths) < count:
        raise InvalidInput(f"{text.path}.intermediate_size", str(listed)[:80], f"must be one width or {count}, from 1 to {MAX_WIDTH}")
    return widths * count if len(widths) == 1 else widths


def _h_overrides(text: HfConfig) -> Mapping[str, int]:
    """As many layers as the pattern has letters, whatever `num_hidden_layers` says."""
    pattern = _pattern(text)
    return {"num_hidden_layers": len(pattern), "intermediate_size": max(_mlp_widths(text, pattern.count("-")), default=0)}


def _h(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    heads, head_dim = positive(text, "mamba_num_heads", limit=MAX_WIDTH), positive(text, "mamba_head_dim", limit=MAX_WIDTH)
    state = Mamba2(
        inner=heads * head_dim,
        heads=heads,
        head_dim=head_dim,
        groups=positive(text, "mamba_n_groups", "n_groups", default=8, limit=MAX_WIDTH),
        state=positive(text, "ssm_state_size", default=128, limit=MAX_WIDTH),
        kernel=positive(text, "mamba_d_conv", "conv_kernel", default=4, limit=MAX_WIDTH),
        state_dtype=text.str_or_none("mamba_ssm_cache_dtype") or "float32",
    )
    pattern, block = _pattern(text), _routed(text)
    widths = _mlp_widths(text, pattern.count("-"))
    mlps = map({width: Layer(mixers=(), ffn=Mlp(width=width)) for width in widths}.__getitem__, widths)
    others = {
        "M": Layer(mixers=(state,), ffn=None),
        "*": Layer(mixers=(stacks.attention(size),), ffn=None),
        "E": Layer(mixers=(), ffn=block),
    }
    return tuple([next(mlps) if letter == "-" else others[letter] for letter in pattern])


def _routed(text: HfConfig) -> Experts:
    """The experts of a layer E; the class fills in their number also for a model that has no such layer."""
    shared = (text.int_or_none("n_shared_experts") or 0) * text.int("moe_shared_expert_intermediate_size", default=0)
    return stacks.routed_experts(
        text, text.int("moe_intermediate_size"), shared=shared, count=positive(text, "n_routed_experts", limit=MAX_WIDTH)
    )


MODELS = (
    Model(classes=("NemotronForCausalLM",), model_types=("nemotron",), weights=partial(build_decoder, style=NEMOTRON), layers=dense()),
    Model(classes=("DeciLMForCausalLM",), model_types=("nemotron-nas", "deci"), weights=nemotron_nas, layers=_nas),
    Model(
        classes=("NemotronHForCausalLM",), model_types=("nemotron_h",), weights=nemotron_h, layers=_h, predictions=_h_predictions,
        drafter="NemotronHMTPModel", overrides=_h_overrides,
    ),
)  # fmt: skip
