"""Kimi-Linear and its newest form (Kimi-K3): Kimi delta attention beside latent attention without rope; Kimi-VL and Kimi-K2.5.

The last two are DeepSeek behind a tower. `models.register` names it. Knows no quantisation.
Sources: vllm/models/kimi_k3/nvidia/{model,kda,mla}.py, vllm/model_executor/models/{kimi_linear,kimi_vl,kimi_k25}.py (0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.caches import ATTENTION, STATE, mixed_caches
from plimsoll_estimator.layers.decoder import DecoderStyle, mlp, sizes, stack
from plimsoll_estimator.layers.experts import MoeStyle, expert_count, moe
from plimsoll_estimator.layers.latent import Latent, latent, latent_attention
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank, divide, positive
from plimsoll_estimator.layers.recurrent import kda_bytes, state_need
from plimsoll_estimator.layers.text_shape import TextShape
from plimsoll_estimator.models.deepseek import deepseek_v2
from plimsoll_estimator.reader import language
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.moonvit import kimi_k3_tower, kimi_vl_tower, moonvit_tower
from plimsoll_estimator.units import round_up

_STYLE = DecoderStyle()
_PROJECTION_STEP = 16


def _delta_attention(rank: Rank, parent: str, hidden: int, linear: HfConfig) -> None:
    """Query, key, value, gate, decay's first half and beta in one padded projection; convolution and decay in float32."""
    heads, head_dim = linear.int("num_heads"), linear.int("head_dim")
    width = heads * head_dim
    mine, mine_heads = divide(width, rank.tp), divide(heads, rank.tp)
    parts = round_up(4 * mine + head_dim + mine_heads, _PROJECTION_STEP)
    names = ("q_proj", "k_proj", "v_proj")
    rank.column(parent, names, hidden, (parts,), tp=1)
    rank.column(parent, ("f_b_proj",), head_dim, (width,))
    rank.tensor(mine + mine_heads, 4)
    rank.tensor(3 * mine * linear.int("short_conv_kernel_size", default=4), 4)
    rank.norm(head_dim)
    rank.row(parent, "o_proj", width, hidden)


def _narrow_gate_attention(rank: Rank, parent: str, hidden: int, linear: HfConfig) -> None:
    """Kimi-Linear's delta attention: the output gate goes through one head's width, as the decay does."""
    heads, head_dim = linear.int("num_heads"), linear.int("head_dim")
    width = heads * head_dim
    mine, mine_heads = divide(width, rank.tp), divide(heads, rank.tp)
    rank.column(parent, ("q_proj", "k_proj", "v_proj"), hidden, (width, width, width))
    rank.column(parent, ("b_proj",), hidden, (heads,))
    for first, second in (("f_a_proj", "f_b_proj"), ("g_a_proj", "g_b_proj")):
        rank.replicated(parent, (first,), hidden, (head_dim,))
        rank.column(parent, (second,), head_dim, (width,))
    rank.tensor(mine + mine_heads, 4)
    rank.tensor(3 * mine * linear.int("short_conv_kernel_size", default=4), 4)
    rank.norm(head_dim)
    rank.row(parent, "o_proj", width, hidden)


def kimi_linear(rank: Rank) -> None:
    """KimiLinearForCausalLM of Kimi-Linear: delta attention with a narrow gate, latent attention without rope, plain experts.

    Since 0.26 the correction of the router is kept in float32 (vllm/model_executor/models/kimi_linear.py 0.19.1, then
    vllm/models/kimi_k3/nvidia/model.py 0.33.0, which differ in nothing else).
    """
    text = rank.text
    linear = text.sub("linear_attn_config")
    if linear is None:
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, "no rules for a Kimi-Linear configuration without linear_attn_config")
    if linear.bool("use_full_rank_gate"):
        kimi_k3_language(rank)
        return
    if not text.bool("mla_use_nope"):
        raise EngineRefusal(Check.UNSUPPORTED_ATTENTION, "Kimi-Linear's latent attention is built without rotary embedding only")
    size, dims = sizes(text, _STYLE, rank.config), latent(text)
    delta = {i for i in linear.list_or_none("kda_layers") or () if isinstance(i, int)}
    first, every = text.int("first_k_dense_replace", default=0), positive(text, "moe_layer_freq", default=1)
    block = MoeStyle(
        parent="block_sparse_moe", correction=True, correction_item=4 if rank.version.since(0, 27) else 0, shared="count",
        unsplit_since=EngineVersion(0, 28),
        intermediate=("moe_intermediate_size",),
    )  # fmt: skip

    def kind(i: int) -> tuple[bool, bool]:
        return i + 1 in delta, i >= first and i % every == 0 and expert_count(text) > 0

    def layer(i: int) -> None:
        name = f"layers.{i}"
        recurrent, sparse = kind(i)
        if recurrent:
            _narrow_gate_attention(rank, f"{name}.self_attn", size.hidden_size, linear)
        else:
            latent_attention(rank, f"{name}.self_attn", dims)
        if sparse:
            moe(rank, name, size.hidden_size, block)
        else:
            mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, _STYLE)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, _STYLE, layer, kind)


def _latent_attention(rank: Rank, parent: str, dims: Latent, gated: bool) -> None:
    """Latent attention whose output gate shares the first projection."""
    heads = divide(dims.heads, rank.tp)
    gate = (heads * dims.v_dim,) if gated else ()
    parts = (dims.q_rank, dims.kv_rank + dims.rotary, *gate)
    rank.column(parent, ("q_a_proj", "kv_a_proj_with_mqa", "g_proj")[: len(parts)], dims.hidden, parts, tp=1)
    rank.norm(dims.q_rank + dims.kv_rank)
    rank.column(parent, ("q_b_proj",), dims.q_rank, (dims.heads * (dims.nope + dims.rotary),))
    rank.column(parent, ("kv_b_proj",), dims.kv_rank, (dims.heads * (dims.nope + dims.v_dim),))
    rank.row(parent, "o_proj", dims.heads * dims.v_dim, dims.hidden)
    rank.attention_scales(parent, latent=True)
    rank.tensor(1, 4)
    rank.added_bytes += heads * (dims.nope + dims.v_dim) * dims.kv_rank * rank.item


def _experts(rank: Rank, parent: str, text: HfConfig, hidden: int) -> None:
    experts, intermediate = expert_count(text), text.int("moe_intermediate_size")
    narrow = text.int_or_none("routed_expert_hidden_size") or hidden
    rank.tensor(experts * hidden)
    rank.tensor(experts, 4)
    shared = (text.int_or_none("num_shared_experts") or 0) * intermediate
    if shared:
        mlp(rank, f"{parent}.shared_experts", hidden, shared, _STYLE, rank.shared_experts_tp(EngineVersion(0, 28)))
    if narrow != hidden:
        rank.tensor(2 * hidden * narrow)
        if text.bool("latent_moe_use_norm"):
            rank.norm(narrow)
    rank.experts(f"{parent}.experts", experts, narrow, intermediate)


def kimi_k3_language(rank: Rank) -> None:
    """KimiLinearForCausalLM of Kimi-K3: every layer also mixes earlier blocks' outputs (two norms and two vectors)."""
    text = rank.text
    size = sizes(text, _STYLE, rank.config)
    dims = latent(text)
    linear = text.sub("linear_attn_config") or HfConfig({}, "linear_attn_config")
    full = {i for i in linear.list_or_none("full_attn_layers") or () if isinstance(i, int)}
    first = text.int("first_k_dense_replace", default=0)
    mixes = "attn_res_block_size" in text

    def kind(i: int) -> tuple[bool, bool]:
        return i + 1 in full, i >= first

    def layer(i: int) -> None:
        name = f"layers.{i}"
        latent_layer, sparse = kind(i)
        if latent_layer:
            _latent_attention(rank, f"{name}.self_attn", dims, text.bool("mla_use_output_gate"))
        else:
            _delta_attention(rank, f"{name}.self_attn", size.hidden_size, linear)
        if sparse:
            _experts(rank, f"{name}.block_sparse_moe", text, size.hidden_size)
        else:
            mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, _STYLE)
        rank.norm(size.hidden_size, count=6 if mixes else 2)

    stack(rank, size, _STYLE, layer, kind)
    if mixes and rank.last:
        rank.norm(size.hidden_size, count=2)


kimi_vl = with_tower(kimi_vl_tower, deepseek_v2, quantised=False)
kimi_k25 = with_tower(moonvit_tower, deepseek_v2, quantised=False)
kimi_k3 = with_tower(kimi_k3_tower, kimi_k3_language, quantised=False)


def kimi_linear_caches(config: HfConfig, shape: TextShape, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """Kimi delta attention with latent attention in between (layer numbers in `linear_attn_config` count from one)."""
    text = language(config)
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
    return mixed_caches(shape, resolved, rules, kinds, state)
