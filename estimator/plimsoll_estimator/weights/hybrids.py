"""Decoders with layers that keep a state: Mamba 1 and 2, Gated DeltaNet, short convolutions.

Sources: vllm/model_executor/layers/mamba/{mamba_mixer,mamba_mixer2,gdn_linear_attn,short_conv}.py and the models that use them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.units import round_up
from plimsoll_estimator.weights import dense
from plimsoll_estimator.weights.decoder import DecoderStyle, MoeStyle, attention, expert_count, has_bias, mlp, moe, sizes, stack
from plimsoll_estimator.weights.mla import MAX_DRAFT_LAYERS
from plimsoll_estimator.weights.moe_families import everywhere
from plimsoll_estimator.weights.rank import Rank, divide, positive
from plimsoll_estimator.weights.rope import rope


def mamba1(rank: Rank, parent: str, text: HfConfig, norms: bool) -> None:
    """MambaMixer: inner channels divided; x_proj reads divided channels; A is float32."""
    hidden = text.int("hidden_size")
    state, kernel = text.int("mamba_d_state", "state_size", default=16), text.int("mamba_d_conv", "conv_kernel", default=4)
    inner = text.int_or_none("intermediate_size") if "state_size" in text else None
    inner = inner or hidden * text.int("mamba_expand", "expand", default=2)
    dt_rank = text.int_or_none("mamba_dt_rank", "time_step_rank") or -(-hidden // 16)
    mine = divide(inner, rank.tp)
    bias = text.raw("mamba_proj_bias") is True or text.raw("use_bias") is True
    rank.tensor(mine * kernel + (mine if text.bool("mamba_conv_bias", text.bool("use_conv_bias", True)) else 0))
    rank.column(parent, ("in_proj",), hidden, (inner, inner), bias=bias)
    rank.row(parent, "x_proj", inner, dt_rank + 2 * state)
    rank.column(parent, ("dt_proj",), dt_rank, (inner,), bias=True)
    rank.tensor(mine * state, 4)
    rank.tensor(mine)
    rank.row(parent, "out_proj", inner, hidden, bias=bias)
    if norms:
        rank.norm(dt_rank + 2 * state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2:
    """Dimensions of MambaMixer2."""

    hidden: int
    inner: int
    heads: int
    groups: int
    state: int
    kernel: int
    bias: bool
    conv_bias: bool


def mamba2(rank: Rank, parent: str, dims: Mamba2, normed: bool = True) -> None:
    """MambaMixer2: heads divided, groups divided or (when one, or too few) replicated. A is float32."""
    tp = rank.tp
    divide(dims.heads, tp)
    if dims.groups % tp and dims.groups != 1:
        raise EngineRefusal("NotDivisible", f"Tensor parallel world size {tp} must divide num_groups {dims.groups} unless num_groups is 1.")
    groups = dims.groups // tp if dims.groups % tp == 0 else 1
    mine, heads, grouped = dims.inner // tp, dims.heads // tp, groups * dims.state
    channels = mine + 2 * grouped
    rank.tensor(channels * dims.kernel + (channels if dims.conv_bias else 0))
    if rank.version >= (0, 12):
        # `conv_weights` is a view of the convolution: a buffer of its own only on the meta device.
        rank.tensor(channels * dims.kernel)
        rank.added_bytes -= channels * dims.kernel * rank.item
    rank.column(parent, ("in_proj",), dims.hidden, (mine * tp, mine * tp, grouped * tp, grouped * tp, heads * tp), bias=dims.bias)
    rank.tensor(2 * heads)
    rank.tensor(heads, 4)
    if normed:
        rank.norm(mine)
    rank.row(parent, "out_proj", dims.inner, dims.hidden, bias=dims.bias)


def short_conv(rank: Rank, parent: str, hidden: int, kernel: int, bias: bool) -> None:
    """ShortConv: three merged projections and a depthwise convolution."""
    rank.tensor(divide(hidden, rank.tp) * kernel + (hidden // rank.tp if bias else 0))
    rank.column(parent, ("in_proj",), hidden, (hidden, hidden, hidden), bias=bias)
    rank.row(parent, "out_proj", hidden, hidden, bias=bias)


def delta_net(rank: Rank, parent: str, text: HfConfig, split_names: bool) -> None:
    """Gated DeltaNet: query, key, value and gate in one projection; a small one for beta and decay; A_log is float32 since 0.19."""
    hidden = text.int("hidden_size")
    key_heads, value_heads = text.int("linear_num_key_heads"), text.int("linear_num_value_heads")
    key = key_heads * text.int("linear_key_head_dim")
    head_v = text.int("linear_value_head_dim")
    value = value_heads * head_v
    names = ("in_proj_qkv", "in_proj_z") if split_names else ("in_proj_qkvz",)
    small = ("in_proj_b", "in_proj_a") if split_names else ("in_proj_ba",)
    rank.tensor(divide(key * 2 + value, rank.tp) * text.int("linear_conv_kernel_dim", default=4))
    rank.column(parent, names, hidden, (key, key, value, value))
    rank.column(parent, small, hidden, (value_heads, value_heads) if split_names else (2 * value_heads,))
    heads = divide(value_heads, rank.tp)
    rank.tensor(heads)
    rank.tensor(heads, 4 if rank.version >= (0, 19) else None)
    rank.norm(head_v)
    rank.row(parent, "out_proj", value, hidden)


@cache
def _qwen_next_style(mrope_factor: int, *, split_names: bool) -> DecoderStyle:
    return replace(
        dense.QWEN3,
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
    factor = 1 if rank.version >= (0, 32) and split_names else 4
    style = _qwen_next_style(factor, split_names=split_names)
    size = sizes(text, style, rank.config)
    query_heads = size.heads * (2 if text.bool("attn_output_gate", True) else 1)
    every = text.int("full_attention_interval", default=4)
    kinds = text.list_or_none("layer_types")
    block = MoeStyle(
        shared="size", shared_gate=True, shared_name="shared_expert", unsplit_since=(0, 20), intermediate=("moe_intermediate_size",)
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
        rank.qkv(parent, size.hidden, query_heads, size.kv_heads, size.head_dim, bias=has_bias(text, style.qkv_bias))
        rank.row(parent, "o_proj", size.heads * size.head_dim, size.hidden)
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
            moe(rank, name, size.hidden, block)
        else:
            mlp(rank, f"{name}.mlp", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, count=2)

    stack(rank, size, style, layer, lambda i: (full(i), routed(i)))
    if rank.drafts_by_mtp:
        # qwen3_5_mtp.py, qwen3_next_mtp.py: attention layers after a joint projection; embedding and head are the target's.
        rank.column("mtp", ("fc",), 2 * size.hidden, (size.hidden,), tp=1)
        rank.norm(size.hidden, count=3)
        for i in range(min(text.int("mtp_num_hidden_layers", "num_nextn_predict_layers", default=0), MAX_DRAFT_LAYERS)):
            gated_attention(f"mtp.layers.{i}")
            if sparse:
                moe(rank, f"mtp.layers.{i}", size.hidden, block)
            else:
                mlp(rank, f"mtp.layers.{i}.mlp", size.hidden, size.intermediate, style)
            rank.norm(size.hidden, count=2)


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
            moe(rank, name, size.hidden, block)
        else:
            mlp(rank, f"{name}.feed_forward", size.hidden, size.intermediate, style)
        rank.norm(size.hidden, count=2)

    stack(rank, size, style, layer, lambda i: (attends(i), routed(i)))


def _pure(rank: Rank, second: bool) -> None:
    text = rank.text
    heads = text.int("num_heads", default=1)
    style = everywhere(DecoderStyle(tied=True))
    size = sizes(HfConfig({"num_attention_heads": heads, **text.as_mapping()}, text.path), style, rank.config)
    dims = Mamba2(
        hidden=size.hidden,
        inner=text.int("expand", default=2) * size.hidden,
        heads=heads,
        groups=text.int("n_groups", default=1),
        state=text.int("state_size", default=128),
        kernel=text.int("conv_kernel", default=4),
        bias=text.bool("use_bias"),
        conv_bias=text.bool("use_conv_bias", True),
    )

    def layer(i: int) -> None:
        name = f"layers.{i}.mixer"
        if second:
            mamba2(rank, name, dims)
        else:
            mamba1(rank, name, text, norms=False)
        rank.norm(size.hidden)

    stack(rank, size, style, layer)


def mamba(rank: Rank) -> None:
    """MambaForCausalLM and FalconMambaForCausalLM: Mamba 1 alone."""
    _pure(rank, second=False)


def mamba2_model(rank: Rank) -> None:
    """Mamba2ForCausalLM: Mamba 2 alone."""
    _pure(rank, second=True)


def nemotron_h(rank: Rank) -> None:
    """NemotronHForCausalLM: one mixer per layer, named by a pattern: M Mamba 2, * attention, - MLP, E experts (perhaps latent)."""
    text = rank.text
    style = everywhere(DecoderStyle(ties=False, gated=False, mlp_names=("up_proj",), attention="mixer", mlp_bias=("mlp_bias",)))
    pattern = _pattern(text)
    size = sizes(HfConfig({"num_hidden_layers": len(pattern), **text.as_mapping()}, text.path), style, rank.config)
    heads = text.int("mamba_num_heads")
    dims = Mamba2(
        hidden=size.hidden,
        inner=heads * text.int("mamba_head_dim"),
        heads=heads,
        groups=text.int("n_groups", default=8),
        state=text.int("ssm_state_size", default=128),
        kernel=text.int("conv_kernel", default=4),
        bias=text.bool("use_bias"),
        conv_bias=text.bool("use_conv_bias", True),
    )

    def layer(i: int) -> None:
        name = f"layers.{i}"
        kind = pattern[i]
        if kind == "M":
            mamba2(rank, f"{name}.mixer", dims)
        elif kind == "*":
            attention(rank, name, size, style)
        elif kind == "E":
            _nemotron_experts(rank, f"{name}.mixer", size.hidden, style)
        else:
            mlp(rank, f"{name}.mixer", size.hidden, size.intermediate, style)
        rank.norm(size.hidden)

    stack(rank, size, style, layer, lambda i: pattern[i], layers=len(pattern))


def _pattern(text: HfConfig) -> str:
    pattern = text.str_or_none("hybrid_override_pattern")
    if pattern is not None:
        return pattern.replace("|", "")
    letters = {"mamba": "M", "linear_attention": "M", "attention": "*", "full_attention": "*", "mlp": "-", "moe": "E"}
    kinds = text.list_or_none("layers_block_type") or ()
    return "".join(letters.get(str(kind), "-") for kind in kinds) or "-" * text.int("num_hidden_layers")


def _nemotron_experts(rank: Rank, parent: str, hidden: int, style: DecoderStyle) -> None:
    text = rank.text
    experts = text.int("n_routed_experts")
    latent = text.int_or_none("moe_latent_size")
    capability = rank.resolved.gpu.capability
    # GateLinear keeps float32 weights where no kernel computes bfloat16 in float32.
    rank.tensor(experts * hidden, None if capability == 90 or capability // 10 == 10 else 4)
    rank.tensor(experts, 4)
    rank.experts(f"{parent}.experts", experts, latent or hidden, text.int("moe_intermediate_size"), gated=False)
    if latent:
        rank.replicated(parent, ("fc1_latent_proj",), hidden, (latent,), bias=text.bool("mlp_bias"))
        rank.replicated(parent, ("fc2_latent_proj",), latent, (hidden,), bias=text.bool("mlp_bias"))
    shared = (text.int_or_none("n_shared_experts") or 0) * text.int("moe_shared_expert_intermediate_size", default=0)
    if shared:
        mlp(rank, f"{parent}.shared_experts", hidden, shared, style, rank.shared_experts_tp((0, 11)))


def granite_hybrid(rank: Rank, default_positions: str = "none") -> None:
    """GraniteMoeHybridForCausalLM: Mamba 2 or attention, a shared MLP, perhaps experts."""
    text = rank.text
    style = everywhere(replace(dense.GRANITE, mlp_bias="no", mlp_names=("input_linear",), down_name="output_linear"))
    size = sizes(text, style, rank.config)
    kinds = text.list_or_none("layer_types") or text.list_or_none("layers_block_type") or ()
    shared = text.int_or_none("shared_intermediate_size") or 0
    block = MoeStyle(parent="block_sparse_moe", intermediate=("intermediate_size",))
    rotary = (text.str_or_none("position_embedding_type") or default_positions) == "rope"

    def attends(i: int) -> bool:
        return i >= len(kinds) or kinds[i] in ("attention", "full_attention")

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if attends(i):
            attention(rank, name, size, style)
            if rotary:
                rope(rank, size.head_dim, size.positions)
        else:
            mamba2(rank, f"{name}.mamba", _granite_mamba(text, size.hidden))
        if expert_count(text) > 0:
            moe(rank, name, size.hidden, block)
        if shared:
            mlp(rank, f"{name}.shared_mlp", size.hidden, shared, style)
        rank.norm(size.hidden, count=2)

    stack(rank, size, style, layer, attends)


def _granite_mamba(text: HfConfig, hidden: int) -> Mamba2:
    inner = text.int("mamba_expand", default=2) * hidden
    return Mamba2(
        hidden=hidden,
        inner=inner,
        heads=text.int("mamba_n_heads", default=128),
        groups=text.int("mamba_n_groups", default=1),
        state=text.int("mamba_d_state", default=256),
        kernel=text.int("mamba_d_conv", default=4),
        bias=text.bool("mamba_proj_bias"),
        conv_bias=text.bool("mamba_conv_bias", True),
    )


def lfm2(rank: Rank) -> None:
    """Lfm2ForCausalLM: short convolutions, a few attention layers with query and key norms."""
    text = rank.text
    style = DecoderStyle(tied=True, qk_norm="head", o_name="out_proj", embedding_always=True, down_name="w2")
    size = sizes(text, style, rank.config)
    intermediate = text.int("block_ff_dim", "intermediate_size")
    if text.bool("block_auto_adjust_ff_dim", True):
        scaled = int((text.float_or_none("block_ffn_dim_multiplier") or 1.0) * int(2 * intermediate / 3))
        intermediate = round_up(scaled, positive(text, "block_multiple_of", default=256))
    kinds = text.list_or_none("layer_types")
    full = text.list_or_none("full_attn_idxs") or ()
    kernel, bias = text.int("conv_L_cache", default=3), text.bool("conv_bias")

    def attends(i: int) -> bool:
        return kinds[i] == "full_attention" if kinds is not None and i < len(kinds) else i in full

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if attends(i):
            attention(rank, name, size, style)
            rope(rank, size.head_dim, size.positions)
        else:
            short_conv(rank, f"{name}.short_conv", size.hidden, kernel, bias)
        mlp(rank, f"{name}.feed_forward", size.hidden, intermediate, replace(style, mlp_names=("w1", "w3")))
        rank.norm(size.hidden, count=2)

    stack(rank, size, style, layer, attends)
