"""Hunyuan dense, Hunyuan A13B and HY3.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{hunyuan_v1,hy_v3}.py.
"""

from __future__ import annotations

from functools import partial

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, attention, build_decoder, everywhere, mlp, rope_table, stack
from plimsoll_estimator.layers.experts import MoeStyle, build_moe, check_expert_count
from plimsoll_estimator.layers.predictions import decoder_modules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.mixers import Experts, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import behind_dense, routed_experts, windowed
from plimsoll_estimator.reader import MAX_WIDTH, experts, positive
from plimsoll_estimator.shape import Dimensions, Layer

HUNYUAN = DecoderStyle(
    qk_norm="head",
    qkv_bias=("attention_bias",),
    o_bias=("attention_bias",),
    mlp_bias=("mlp_bias",),
    transformers_since=EngineVersion(0, 29),
)


def hunyuan_moe(rank: Rank) -> None:
    """HunYuanMoEV1ForCausalLM: the router's own class, experts beside a shared block."""
    size, layers = rank.shape.size, rank.shape.layers
    check_expert_count(rank)

    def layer(i: int) -> None:
        name, ffn = f"layers.{i}", layers[i].ffn
        attention(rank, name, size, HUNYUAN)
        if isinstance(ffn, Experts):
            rank.tensor(ffn.count * size.hidden_size)
            rank.experts(f"{name}.mlp.experts", ffn.count, size.hidden_size, ffn.width)
            if ffn.shared:
                mlp(rank, f"{name}.mlp.shared_mlp", size.hidden_size, ffn.shared, HUNYUAN)
        else:
            mlp(rank, f"{name}.mlp", size.hidden_size, size.intermediate_size, HUNYUAN)
        rank.norm(size.hidden_size, count=2)
        rope_table(rank, size, HUNYUAN)

    stack(rank, size, HUNYUAN, layer, rank.kind)


def hy_v3(rank: Rank) -> None:
    """HYV3ForCausalLM (HY3): float32 routers with a bias, experts of `expert_hidden_dim`."""
    check_expert_count(rank)
    style = everywhere(DecoderStyle(qk_norm="head" if rank.text.bool("qk_norm") else "no"))
    correction_item = 4 if rank.version.since(0, 26) else 0
    sparse = MoeStyle(gate_item=4, correction=True, correction_item=correction_item, shared_name="shared_mlp")
    build_moe(rank, style, sparse)
    decoder_modules(rank, style, sparse)


def _sparse_layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Experts in every layer where there are more than one; their width, choice and shared number may be listed by layer.

    The shared block is so many times the model's intermediate size (hunyuan_v1.py: HunYuanSparseMoeBlock, 0.28.0).
    """
    if text.raw("use_cla"):
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, "no rules for a Hunyuan whose layers share keys and values (use_cla)")
    count, found = size.layer_count, experts(text)
    ffns: list[Mlp | Experts] = [Mlp(width=size.intermediate_size)] * count
    if found > 1:
        mixed = text.raw("use_mixed_mlp_moe") not in (False, 0)
        widths = _by_layer(text, "moe_intermediate_size", count, size.intermediate_size)
        chosen = _by_layer(text, "moe_topk", count, 1)
        shared = _by_layer(text, "num_shared_expert", count, 1) if mixed else [0] * count
        ffns = [
            Experts(count=found, per_token=top, width=width, shared=beside * size.intermediate_size)
            for width, top, beside in zip(widths, chosen, shared, strict=True)
        ]
    return stacks.attending(windowed(text, size, stacks.attention(size)), ffns)


def _by_layer(text: HfConfig, key: str, count: int, silent: int) -> list[int]:
    """A number for every layer: one for all, or one each. Raises InvalidInput for a list that ends before the layers do."""
    listed = text.raw(key)
    if not isinstance(listed, list | tuple):
        return [text.int(key, default=silent)] * count
    if len(listed) < count:
        raise InvalidInput(f"{text.path}.{key}", len(listed), f"must name each of the {count} layers")
    return [HfConfig({key: value}, text.path).int(key) for value in listed[:count]]


def _hy_v3_layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    block = routed_experts(text, positive(text, "expert_hidden_dim", "moe_intermediate_size", limit=MAX_WIDTH))
    seen = windowed(text, size, stacks.attention(size))
    return stacks.attending(seen, behind_dense(text, size, block, first=1))


MODELS = (
    Model(
        classes=("HunYuanDenseV1ForCausalLM",),
        model_types=("hunyuan_v1_dense",),
        weights=partial(build_decoder, style=HUNYUAN),
        layers=stacks.dense(),
    ),
    Model(
        classes=("HunYuanMoEV1ForCausalLM",),
        model_types=("hunyuan_v1_moe", "hunyuan"),
        weights=hunyuan_moe,
        layers=_sparse_layers,
    ),
    Model(classes=("HYV3ForCausalLM",), model_types=("hy_v3",), weights=hy_v3, layers=_hy_v3_layers, drafter="HYV3MTPModel"),
)
