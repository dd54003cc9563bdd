"""StableLM: LayerNorms with biases, a quarter of each head rotates.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/stablelm.py.
"""

from __future__ import annotations

from functools import partial

from plimsoll_estimator.layers.decoder import EVERY_PART, DecoderStyle, build_decoder
from plimsoll_estimator.models.record import Model
from plimsoll_estimator.models.stacks import dense

_STABLELM = DecoderStyle(every_stage=EVERY_PART, qkv_bias=("use_qkv_bias",), norm_bias=True, partial_rotary=0.25)
MODELS = (
    Model(
        classes=("StableLmForCausalLM", "StableLMEpochForCausalLM"),
        model_types=("stablelm", "stablelm_epoch"),
        weights=partial(build_decoder, style=_STABLELM),
        layers=dense(),
    ),
)
