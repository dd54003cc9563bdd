"""Phi 1 to 4, Phi-3.5-MoE, and Phi with towers: Phi-3 vision, Phi-4-multimodal.

`models.register` names it. Knows no quantisation. Sources: vllm/model_executor/models/{phi,phi3,phimoe,phi3v,phi4mm}.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.layers.decoder import EVERY_PART, DecoderStyle, build_decoder, everywhere
from plimsoll_estimator.layers.experts import BLOCK_SPARSE, build_moe
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.llama import DENSE as LLAMA
from plimsoll_estimator.models.record import Model, seeing
from plimsoll_estimator.models.stacks import dense, mixture
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.phi3v import phi3v_tower
from plimsoll_estimator.towers.phi4mm import phi4mm_tower

_PHI3 = DecoderStyle()
_PHI = DecoderStyle(
    every_stage=EVERY_PART,
    qkv_bias="yes",
    o_bias="yes",
    mlp_bias="yes",
    head_bias="yes",
    gated=False,
    norms=1,
    norm_bias=True,
    partial_rotary=0.5,
    o_name="dense",
    mlp_names=("fc1",),
    down_name="fc2",
    transformers_since=EngineVersion(0, 32),
)


_PHIMOE = everywhere(
    DecoderStyle(ties=False, qkv_bias=("attention_bias",), o_bias=("attention_bias",), norm_bias=True, head_bias=("lm_head_bias",))
)


def phimoe(rank: Rank) -> None:
    """PhiMoEForCausalLM: biases and LayerNorms."""
    build_moe(rank, _PHIMOE, BLOCK_SPARSE)


MODELS = (
    Model(classes=("PhiForCausalLM",), model_types=("phi", "phi-msft"), weights=partial(build_decoder, style=_PHI), layers=dense()),
    Model(classes=("Phi3ForCausalLM",), model_types=("phi3",), weights=partial(build_decoder, style=_PHI3), layers=dense()),
    Model(classes=("PhiMoEForCausalLM",), model_types=("phimoe",), weights=phimoe, layers=mixture),
    seeing(replace(LLAMA, model_types=("phi3_v",)), behind(phi3v_tower), classes=("Phi3VForCausalLM",)),
    seeing(replace(LLAMA, model_types=("phi4mm",)), behind(phi4mm_tower, quantised=False), classes=("Phi4MMForCausalLM",)),
)
