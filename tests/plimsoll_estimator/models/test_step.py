"""Step 3.5: windows with heads of their own, experts by number. Read as vLLM 0.32.0's Step3p5Config and Step3p5DecoderLayer read it."""

from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import shape_of

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Attention, Experts, Mlp

STEP: dict[str, Any] = {"model_type": "step3p5", "num_hidden_layers": 4, "sliding_window": 512}
OTHER = {"attention_type": "sliding_attention", "num_attention_heads": 96, "num_attention_groups": 16, "head_dim": 64}
KINDS = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]


@pytest.mark.parametrize(
    ("sentence", "config", "windows"),
    [
        ("without a list every other layer from the first on", {}, [512, 0, 512, 0]),
        ("a list wins", {"layer_types": KINDS}, [0, 512, 512, 0]),
        ("a list may be longer than the layers", {"layer_types": [*KINDS, "full_attention"]}, [0, 512, 512, 0]),
        ("no window at all", {"sliding_window": None}, [0, 0, 0, 0]),
    ],
)
def test_windows(sentence: str, config: dict[str, Any], windows: list[int]) -> None:
    shape = shape_of("Step3p5ForCausalLM", **{**STEP, **config})
    assert [layer.mixer(Attention).window for layer in shape.layers] == windows, sentence


@pytest.mark.parametrize(
    ("sentence", "config", "heads"),
    [
        ("the kind that is named has heads of its own", {"layer_types": KINDS, "attention_other_setting": OTHER}, [40, 96, 96, 40]),
        (
            "whichever it is", {"layer_types": KINDS, "attention_other_setting": {**OTHER, "attention_type": "full_attention"}},
            [96, 40, 40, 96],
        ),
        ("without a list none has", {"attention_other_setting": OTHER}, [40, 40, 40, 40]),
    ],
)  # fmt: skip
def test_heads(sentence: str, config: dict[str, Any], heads: list[int]) -> None:
    shape = shape_of("Step3p5ForCausalLM", **STEP, **config)
    assert [layer.mixer(Attention).heads for layer in shape.layers] == heads, sentence


@pytest.mark.parametrize(
    ("sentence", "config", "routed"),
    [
        ("all but the first", {}, [1, 2, 3]),
        ("by numbers", {"moe_layers_enum": "0, 3"}, [0, 3]),
    ],
)
def test_layers_with_experts(sentence: str, config: dict[str, Any], routed: list[int]) -> None:
    shape = shape_of("Step3p5ForCausalLM", **STEP, **config)
    assert [i for i, layer in enumerate(shape.layers) if layer.routed] == routed, sentence


@pytest.mark.parametrize(
    ("sentence", "config", "experts"),
    [
        ("Step3p5Config", {}, Experts(count=16, per_token=4, width=10240, shared=40960)),
        (
            "the shared one is as wide as those chosen together", {"moe_top_k": 8, "moe_intermediate_size": 1280},
            Experts(count=16, per_token=8, width=1280, shared=10240),
        ),
        ("or as the file says", {"share_expert_dim": 1280}, Experts(count=16, per_token=4, width=10240, shared=1280)),
    ],
)  # fmt: skip
def test_experts(sentence: str, config: dict[str, Any], experts: Experts) -> None:
    shape = shape_of("Step3p5ForCausalLM", **STEP, **config)
    assert (shape.experts, shape.layers[0].ffn) == (experts, Mlp(width=13312)), sentence


def test_a_layer_kind_without_a_rule_is_named() -> None:
    with pytest.raises(Unsupported, match="'retention'"):
        shape_of("Step3p5ForCausalLM", **STEP, layer_types=["retention"] * 4)
