"""dots.ocr: what vLLM 0.32.0's own classes build on the meta device and its planner plans, and what the tower's keys say."""

from __future__ import annotations

from typing import Any

import pytest
from tests.plimsoll_estimator.models.built import Planned, answered, planned
from tests.plimsoll_estimator.models.reading import seen, shape_of
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.mixers import Attention, Mlp

OCR: dict[str, Any] = dict(config_of("rednote-hilab/dots.ocr").as_mapping())
VISION: dict[str, Any] = OCR["vision_config"]
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "ignored_layers": ["lm_head", "vision_tower"]}


@pytest.mark.parametrize(
    "row",
    [
        Planned(says="one GPU", created=(6111913536,), blocks=93622, tokens=1497952, concurrency=11.428466796875),
        Planned(
            says="two", args={"tensor_parallel_size": 2}, created=(3073863232,), blocks=187245, tokens=2995920,
            concurrency=22.8570556640625,
        ),
        Planned(
            says="four share two key-value heads", args={"tensor_parallel_size": 4}, created=(1565855296,), blocks=187245, tokens=2995920,
            concurrency=22.8570556640625,
        ),
        Planned(
            says="the tower on both stages", args={"pipeline_parallel_size": 2}, created=(4334823776, 4334826848), blocks=187245,
            tokens=2995920, concurrency=22.8570556640625,
        ),
        Planned(
            says="a cache of 8 bits", args={"kv_cache_dtype": "fp8"}, created=(6111913536,), blocks=187245, tokens=2995920,
            concurrency=22.8570556640625,
        ),
        Planned(
            says="short contexts", args={"max_model_len": 8192, "max_num_seqs": 64}, created=(6111913536,), blocks=93622, tokens=1497952,
            concurrency=182.85546875,
        ),
        Planned(says="too little for its context", gib=1, created=(6111913536,), blocks=0, tokens=37424),
    ],
    ids=str,
)  # fmt: skip
def test_the_published_model_is_built_and_planned_as_by_the_engine(row: Planned) -> None:
    assert planned(OCR, "0.32.0", row) == row


@pytest.mark.parametrize(
    ("row", "changed"),
    [
        (
            Planned(
                says="a quantised language before an unquantised tower", args={"tensor_parallel_size": 2}, created=(1811838664,),
                blocks=187245, tokens=2995920, concurrency=22.8570556640625,
            ),
            {"quantization_config": FP8},
        ),
        (
            Planned(
                says="a tower with biases and without its last norm", created=(3915301440,), blocks=93622, tokens=1497952,
                concurrency=11.428466796875,
            ),
            {"vision_config": {**VISION, "use_bias": True, "post_norm": False, "num_hidden_layers": 4}},
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_part_of_it_changed(row: Planned, changed: dict[str, Any]) -> None:
    assert planned({**OCR, **changed}, "0.32.0", row) == row


def test_the_engine_refuses_ranks_that_its_heads_do_not_divide_by() -> None:
    reply = answered(OCR, "0.32.0", {"tensor_parallel_size": 8})
    assert (reply["verdict"], reply["reason"]) == ("refused", "HeadsNotDivisible")


def test_the_last_stage_has_no_tower_since_0_33() -> None:
    """models/interfaces.py: SupportsMultiModal. The class is the same, and 0.32.0's tower has 2,524,182,656 bytes."""
    reply = answered(OCR, "0.33.0", {"pipeline_parallel_size": 2})
    assert [rank["weights_created_bytes"] for rank in reply["ranks"]] == [4334823776, 4334826848 - 2524182656]


def test_its_language_is_read_of_the_outer_keys() -> None:
    shape = shape_of(OCR)
    assert shape.mixers == (Attention(heads=12, kv_heads=2, head_dim=128, v_head_dim=128),)
    assert shape.layers[0].ffn == Mlp(width=8960)
    assert shape.multimodal
    assert shape.vision is not None
    assert shape.vision.merges_patches


@pytest.mark.parametrize(
    ("sentence", "keys", "told"),
    [
        ("Qwen2 gives its window to no layer", {"use_sliding_window": True, "sliding_window": 4096}, "28f"),
        ("DotsOCRConfig's own layers", {"num_hidden_layers": None}, "32f"),
    ],
)
def test_layers(sentence: str, keys: dict[str, Any], told: str) -> None:
    assert seen(shape_of({key: value for key, value in {**OCR, **keys}.items() if value is not None})) == told, sentence


@pytest.mark.parametrize(
    "key", ["embed_dim", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "patch_size", "spatial_merge_size"]
)
def test_a_silent_tower_is_dots_vision_config(key: str) -> None:
    """The published tower has the class's own values."""
    silent = {**OCR, "vision_config": {name: value for name, value in VISION.items() if name != key}}
    row = Planned(says=key, created=(6111913536,), blocks=93622, tokens=1497952, concurrency=11.428466796875)
    assert planned(silent, "0.32.0", row) == row


def test_an_unknown_kind_of_layer_is_named() -> None:
    with pytest.raises(Unsupported, match="'ring_attention'"):
        shape_of({**OCR, "layer_types": ["ring_attention"] * 28})


def test_a_tower_without_width_is_named() -> None:
    reply = answered({**OCR, "vision_config": {**VISION, "embed_dim": 0}}, "0.32.0", {})
    assert reply["verdict"] == "invalid"
    assert "vision_config.embed_dim" in reply["message"]
