"""StableLM: LayerNorms with biases, a quarter of each head rotates.

`models.register` names it. Knows no quantisation. Source: vllm/model_executor/models/stablelm.py.
"""

from __future__ import annotations

from plimsoll_estimator.layers.decoder import DecoderStyle

STABLELM = DecoderStyle(
    embedding_always=True, head_always=True, norm_always=True, qkv_bias=("use_qkv_bias",), norm_bias=True, partial_rotary=0.25
)
