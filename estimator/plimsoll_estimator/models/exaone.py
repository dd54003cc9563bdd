"""EXAONE 3 and 4, K-EXAONE with experts, EXAONE 4.5 with a tower.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{exaone,exaone4,exaone_moe}.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, build_decoder
from plimsoll_estimator.layers.experts import MoeStyle, build_moe, check_expert_count
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, seeing
from plimsoll_estimator.models.stacks import dense, predicted, routed_experts, sparse_from, windowed
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.towers.compose import with_tower
from plimsoll_estimator.towers.qwen_vit import qwen2_5_tower

_EXAONE = DecoderStyle(qkv_bias=("attention_bias", "bias"), o_bias=("attention_bias", "bias"), mlp_bias=("mlp_bias",))
_EXAONE4 = DecoderStyle(qk_norm="head", qkv_bias=("attention_bias",), o_bias=("attention_bias",))
_EXPERTS = MoeStyle(correction=True)


def exaone_moe(rank: Rank) -> None:
    """ExaoneMoeForCausalLM (K-EXAONE): norms on queries and keys, dense layers first, float32 correction, a shared expert."""
    check_expert_count(rank)
    build_moe(rank, _EXAONE4, _EXPERTS)


def _dense_first(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Which layers are dense: by name, by flag, or the first few."""
    names, flags = text.list_or_none("mlp_layer_types") or (), text.list_or_none("is_moe_layer") or ()
    plain = {i for i, name in enumerate(names) if name == "dense"} or {i for i, sparse in enumerate(flags) if not sparse}
    first = 0 if names or flags else text.int("first_last_k_dense_replace", "first_k_dense_replace", default=1)
    ffns = sparse_from(size, routed_experts(text, text.int("moe_intermediate_size")), first=first, dense=plain)
    return stacks.attending(windowed(text, size, stacks.attention(size), every=4), ffns)


_DENSE_4 = Model(
    classes=("Exaone4ForCausalLM",), model_types=("exaone4",), weights=partial(build_decoder, style=_EXAONE4), layers=dense(every=4)
)
_ONE_MODULE = partial(predicted, silent=1)
MODELS = (
    Model(classes=("ExaoneForCausalLM",), model_types=("exaone",), weights=partial(build_decoder, style=_EXAONE), layers=dense()),
    _DENSE_4,
    Model(
        classes=("ExaoneMoeForCausalLM", "ExaoneMoEForCausalLM"),
        model_types=("exaone_moe",),
        weights=exaone_moe,
        layers=_dense_first,
        predictions=_ONE_MODULE,
        drafter="ExaoneMoeMTP",
    ),
    seeing(
        replace(_DENSE_4, predictions=_ONE_MODULE),
        partial(with_tower, qwen2_5_tower),
        classes=("Exaone4_5_ForConditionalGeneration",),
        model_types=("exaone4_5_text",),
        drafter="Exaone4_5_MTP",
    ),
)
