"""Kimi-Linear and its newest form (Kimi-K3): Kimi delta attention beside latent attention without rope; Kimi-VL and Kimi-K2.5.

The last two are DeepSeek behind a tower. `models.register` names it. Knows no quantisation.
Sources: vllm/models/kimi_k3/nvidia/{model,kda,mla}.py, vllm/model_executor/models/{kimi_linear,kimi_vl,kimi_k25}.py (0.33.0).
"""

from __future__ import annotations

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, mlp, stack
from plimsoll_estimator.layers.experts import MoeStyle, feed_forward
from plimsoll_estimator.layers.latent import expanded, latent_attention
from plimsoll_estimator.layers.rank import Rank, divide
from plimsoll_estimator.mixers import Experts, KimiDelta, Latent, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.deepseek import V3
from plimsoll_estimator.models.record import Model, seeing
from plimsoll_estimator.models.stacks import behind_dense, routed_experts
from plimsoll_estimator.reader import MAX_WIDTH, experts, positive
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.moonvit import kimi_k3_tower, kimi_vl_tower, moonvit_tower
from plimsoll_estimator.units import round_up

_STYLE = DecoderStyle()
_PROJECTION_STEP = 16


def _delta_attention(rank: Rank, parent: str, hidden: int, mixer: KimiDelta) -> None:
    """Query, key, value, gate, decay's first half and beta in one padded projection; convolution and decay in float32."""
    width = mixer.heads * mixer.head_dim
    mine, mine_heads = divide(width, rank.tp), divide(mixer.heads, rank.tp)
    parts = round_up(4 * mine + mixer.head_dim + mine_heads, _PROJECTION_STEP)
    names = ("q_proj", "k_proj", "v_proj")
    rank.column(parent, names, hidden, (parts,), tp=1)
    rank.column(parent, ("f_b_proj",), mixer.head_dim, (width,))
    _decay_and_output(rank, parent, hidden, mixer)


def _narrow_gate_attention(rank: Rank, parent: str, hidden: int, mixer: KimiDelta) -> None:
    """Kimi-Linear's delta attention: the output gate goes through one head's width, as the decay does."""
    width = mixer.heads * mixer.head_dim
    rank.column(parent, ("q_proj", "k_proj", "v_proj"), hidden, (width, width, width))
    rank.column(parent, ("b_proj",), hidden, (mixer.heads,))
    for first, second in (("f_a_proj", "f_b_proj"), ("g_a_proj", "g_b_proj")):
        rank.replicated(parent, (first,), hidden, (mixer.head_dim,))
        rank.column(parent, (second,), mixer.head_dim, (width,))
    _decay_and_output(rank, parent, hidden, mixer)


def _decay_and_output(rank: Rank, parent: str, hidden: int, mixer: KimiDelta) -> None:
    width = mixer.heads * mixer.head_dim
    mine, mine_heads = divide(width, rank.tp), divide(mixer.heads, rank.tp)
    rank.tensor(mine + mine_heads, 4)
    rank.tensor(3 * mine * mixer.kernel, 4)
    rank.norm(mixer.head_dim)
    rank.row(parent, "o_proj", width, hidden)


def kimi_linear(rank: Rank) -> None:
    """KimiLinearForCausalLM, which serves Kimi-Linear and, where the gate has full rank, Kimi-K3."""
    linear = rank.text.sub("linear_attn_config")
    if not rank.text.bool("mla_use_nope"):
        raise EngineRefusal(
            Check.UNSUPPORTED_ATTENTION, "Kimi-Linear's latent attention is built without rotary embedding only (mla_use_nope)"
        )
    if linear is not None and linear.bool("use_full_rank_gate"):
        _kimi_k3(rank)
    else:
        _kimi_linear(rank)


def _kimi_linear(rank: Rank) -> None:
    """Delta attention with a narrow gate, latent attention without rope, plain experts.

    Since 0.26 the correction of the router is kept in float32 (vllm/model_executor/models/kimi_linear.py 0.19.1, then
    vllm/models/kimi_k3/nvidia/model.py 0.33.0, which differ in nothing else).
    """
    size, layers = rank.shape.size, rank.shape.layers
    sparse = MoeStyle(
        parent="block_sparse_moe", correction=True, correction_item=4 if rank.version.since(0, 27) else 0,
        unsplit_since=EngineVersion(0, 28),
    )  # fmt: skip

    def layer(i: int) -> None:
        name = f"layers.{i}"
        if layers[i].mixes(KimiDelta):
            _narrow_gate_attention(rank, f"{name}.self_attn", size.hidden_size, layers[i].mixer(KimiDelta))
        else:
            latent_attention(rank, f"{name}.self_attn", layers[i].mixer(Latent), size.hidden_size)
        feed_forward(rank, name, layers[i].ffn, _STYLE, sparse)
        rank.norm(size.hidden_size, count=2)

    stack(rank, size, _STYLE, layer, rank.kind)


def _latent_attention(rank: Rank, parent: str, mixer: Latent, hidden: int, gated: bool) -> None:
    """Latent attention whose output gate shares the first projection."""
    gate = (divide(mixer.heads, rank.tp) * mixer.v_head_dim,) if gated else ()
    parts = (mixer.q_lora_rank, mixer.kv_lora_rank + mixer.qk_rope_head_dim, *gate)
    rank.column(parent, ("q_a_proj", "kv_a_proj_with_mqa", "g_proj")[: len(parts)], hidden, parts, tp=1)
    rank.norm(mixer.q_lora_rank + mixer.kv_lora_rank)
    rank.column(parent, ("q_b_proj",), mixer.q_lora_rank, (mixer.query_width,))
    expanded(rank, parent, mixer, hidden)
    rank.tensor(1, 4)


def _narrowed_experts(rank: Rank, parent: str, block: Experts, hidden: int) -> None:
    """Experts that may read and write a narrower stream than the model's."""
    narrow = rank.text.int_or_none("routed_expert_hidden_size") or hidden
    rank.tensor(block.count * hidden)
    rank.tensor(block.count, 4)
    if block.shared:
        mlp(rank, f"{parent}.shared_experts", hidden, block.shared, _STYLE, rank.shared_experts_tp(EngineVersion(0, 28)))
    if narrow != hidden:
        rank.tensor(2 * hidden * narrow)
        if rank.text.bool("latent_moe_use_norm"):
            rank.norm(narrow)
    rank.experts(f"{parent}.experts", block.count, narrow, block.width)


def _kimi_k3(rank: Rank) -> None:
    """Kimi-K3's language model: every layer also mixes earlier blocks' outputs (two norms and two vectors)."""
    text, size, layers = rank.text, rank.shape.size, rank.shape.layers
    gated, mixes = text.bool("mla_use_output_gate"), "attn_res_block_size" in text

    def layer(i: int) -> None:
        name, ffn = f"layers.{i}", layers[i].ffn
        if layers[i].mixes(KimiDelta):
            _delta_attention(rank, f"{name}.self_attn", size.hidden_size, layers[i].mixer(KimiDelta))
        else:
            _latent_attention(rank, f"{name}.self_attn", layers[i].mixer(Latent), size.hidden_size, gated)
        if isinstance(ffn, Experts):
            _narrowed_experts(rank, f"{name}.block_sparse_moe", ffn, size.hidden_size)
        else:
            mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, _STYLE)
        rank.norm(size.hidden_size, count=6 if mixes else 2)

    stack(rank, size, _STYLE, layer, rank.kind)
    if mixes and rank.last:
        rank.norm(size.hidden_size, count=2)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Delta attention in the `kda_layers` of `linear_attn_config`, counted from one; every other layer, and all without it, latent.

    So KimiLinearConfig.is_kda_layer; `full_attn_layers` and Transformers' `layer_types` the class does not read.
    """
    count, linear = size.layer_count, text.sub("linear_attn_config")
    full = stacks.cached_latent(text, size)
    ffns: list[Mlp] | list[Mlp | Experts] = [Mlp(width=size.intermediate_size)] * count
    if experts(text):
        ffns = behind_dense(text, size, routed_experts(text, positive(text, "moe_intermediate_size", limit=MAX_WIDTH)))
    if linear is None:
        return stacks.attending([full] * count, ffns)
    delta = KimiDelta(
        heads=positive(linear, "num_heads", limit=MAX_WIDTH),
        head_dim=positive(linear, "head_dim", limit=MAX_WIDTH),
        kernel=positive(linear, "short_conv_kernel_size", default=4, limit=MAX_WIDTH),
    )
    listed = {i for i in linear.list_or_none("kda_layers") or () if isinstance(i, int)}
    return stacks.stack([(delta,) if i + 1 in listed else (full,) for i in range(count)], ffns)


LINEAR = Model(classes=("KimiLinearForCausalLM",), model_types=("kimi_linear",), weights=kimi_linear, layers=_layers)
MODELS = (
    LINEAR,
    seeing(V3, behind(kimi_vl_tower, quantised=False), classes=("KimiVLForConditionalGeneration",)),
    seeing(V3, behind(moonvit_tower, quantised=False), classes=("KimiK25ForConditionalGeneration",)),
    seeing(LINEAR, behind(kimi_k3_tower, quantised=False), classes=("KimiK3ForConditionalGeneration",), drafter="KimiK3MTPModel"),
)
