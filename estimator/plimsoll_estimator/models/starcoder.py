"""StarCoder 2; the first one is GPT-BigCode.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/starcoder2.py and, since 0.25, the Transformers backend.
"""

from __future__ import annotations

from functools import partial

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.layers.decoder import EVERY_PART, DecoderStyle, build_decoder
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense

_STARCODER2 = DecoderStyle(
    every_stage=EVERY_PART,
    qkv_bias=("use_bias",),
    o_bias=("use_bias",),
    mlp_bias=("use_bias",),
    gated=False,
    norm_bias=True,
    mlp_names=("c_fc",),
    down_name="c_proj",
    transformers_since=EngineVersion(0, 25),
)
MODELS = (
    Model(
        classes=("Starcoder2ForCausalLM",),
        model_types=("starcoder2",),
        weights=partial(build_decoder, style=_STARCODER2),
        layers=dense(),
    ),
)
