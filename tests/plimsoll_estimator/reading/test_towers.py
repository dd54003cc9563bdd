"""What a config says of its towers: every spelling, and what the class fills in. Expected values are those that Transformers 5.24.0 (or
vLLM 0.32.0's own config class) holds after reading such a file: `AutoConfig.for_model(model_type, **keys).vision_config`."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.laws import law
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator import catalogue
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.reader import AUDIO, MAX_TOWER_LAYERS, TOWER_SPELLINGS, VISION, outer, tower, tower_size
from plimsoll_estimator.shape import TowerSize

SIZES = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96}


def size(layers: int, hidden: int, heads: int, intermediate: int) -> TowerSize:
    return TowerSize(layers=layers, hidden_size=hidden, heads=heads, intermediate_size=intermediate)


@pytest.mark.parametrize(
    ("sentence", "config", "key", "expected"),
    [
        ("LlavaConfig without a tower builds CLIP ViT-L", {"model_type": "llava"}, VISION, size(24, 1024, 16, 4096)),
        ("LlavaConfig's tower without a type is CLIP", {"model_type": "llava", VISION: {}}, VISION, size(12, 768, 12, 3072)),
        (
            "LlavaConfig takes the tower that the file names",
            {"model_type": "llava", VISION: {"model_type": "pixtral"}},
            VISION,
            size(24, 1024, 16, 4096),
        ),
        (
            "Qwen2VLConfig's own tower is read whatever type the file gives it, and its width is embed_dim",
            {"model_type": "qwen2_vl", VISION: {"model_type": "qwen2_vl", "hidden_size": 1536}},
            VISION,
            size(32, 1280, 16, 5120),
        ),
        (
            "an outer type that is not known leaves the tower's own",
            {"model_type": "novel", VISION: {"model_type": "qwen2_vl"}},
            VISION,
            size(32, 1280, 16, 5120),
        ),
        (
            "a thinker's towers are the model's",
            {"model_type": "qwen2_5_omni", "thinker_config": {AUDIO: {"encoder_layers": 2}}},
            AUDIO,
            size(2, 1280, 20, 5120),
        ),
        ("Qwen3-VL's depth is its number of layers", {"model_type": "qwen3_vl", VISION: {"depth": 5}}, VISION, size(5, 1152, 16, 4304)),
        (
            "KimiK3Config's vt_ keys win over their aliases",
            {"model_type": "kimi_k3", VISION: {"vt_num_hidden_layers": 7, "vt_hidden_size": 512}},
            VISION,
            size(7, 512, 12, 4096),
        ),
        (
            "vLLM's MiniMaxM3Config leaves the tower a mapping: the defaults are Transformers'",
            {"model_type": "minimax_m3_vl", VISION: {"model_type": "clip_vision_model"}},
            VISION,
            size(32, 1280, 16, 5120),
        ),
    ],
)
def test_a_tower_is_as_its_class_would_hold_it(sentence: str, config: dict[str, Any], key: str, expected: TowerSize) -> None:
    assert tower_size(tower(HfConfig(config), key)) == expected, sentence


def test_gemma_4_has_no_tower_where_its_file_has_none() -> None:
    assert list(tower(HfConfig({"model_type": "gemma4"}), VISION)) == []
    assert tower_size(tower(HfConfig({"model_type": "gemma4", VISION: {}}), VISION)) == size(16, 768, 12, 3072)


@pytest.mark.parametrize("usual", TOWER_SPELLINGS)
def test_every_spelling_of_a_dimension_is_read(usual: str) -> None:
    for spelled in TOWER_SPELLINGS[usual]:
        read = tower_size(HfConfig({**{key: value for key, value in SIZES.items() if key != usual}, spelled: 32}))
        assert 32 in (read.layers, read.hidden_size, read.heads, read.intermediate_size), spelled


def test_an_mlp_may_be_said_by_its_ratio() -> None:
    said = {key: value for key, value in SIZES.items() if key != "intermediate_size"}
    assert tower_size(HfConfig({**said, "mlp_ratio": 2.5})).intermediate_size == 160
    assert tower_size(HfConfig({**SIZES, "mlp_ratio": 2.5})).intermediate_size == 96


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("num_hidden_layers", MAX_TOWER_LAYERS + 1, str(MAX_TOWER_LAYERS)),
        ("hidden_size", None, "required"),
        ("num_attention_heads", 0, "from 1"),
        ("mlp_ratio", 0, "more than 0"),
    ],
)
def test_a_dimension_out_of_bounds_is_named_with_its_limit(key: str, value: int | None, limit: str) -> None:
    with pytest.raises(InvalidInput, match=limit) as refused:
        tower_size(HfConfig({**SIZES, key: value}))
    assert refused.value.field.endswith(key)


def test_what_stands_between_is_the_outer_class_s_word() -> None:
    assert outer(HfConfig({"model_type": "llava"})).raw("vision_feature_layer") == -2
    assert outer(HfConfig({"model_type": "llava", "vision_feature_layer": -1})).raw("vision_feature_layer") == -1
    assert outer(HfConfig({"model_type": "cohere2_vision"})).int("alignment_intermediate_size") == 36864
    assert "vision_feature_layer" not in outer(HfConfig({"model_type": "novel"}))


SEEING = [name for name in catalogue.names() if VISION in config_of(name)]
LAW = law(150)


def without(name: str, left_out: frozenset[str]) -> HfConfig:
    """A model of the catalogue whose file leaves these keys of its vision tower out."""
    config = config_of(name)
    given = config.sub(VISION)
    assert given is not None
    return HfConfig({**config.as_mapping(), VISION: {key: value for key, value in given.as_mapping().items() if key not in left_out}})


@st.composite
def shortened(draw: st.DrawFn) -> HfConfig:
    name = draw(st.sampled_from(SEEING))
    given = config_of(name).sub(VISION)
    assert given is not None
    return without(name, frozenset(draw(st.sets(st.sampled_from(sorted(given))))))


@LAW
@given(config=shortened())
def test_a_tower_that_leaves_keys_out_is_whole_or_refused_by_name(config: HfConfig) -> None:
    """No dimension is ever 0, and nothing but a named refusal comes of it."""
    refused: list[str] = []
    try:
        read = tower_size(tower(config, VISION))
        assert min(read.layers, read.hidden_size, read.heads, read.intermediate_size) > 0
        estimate(config, EngineArgs(tensor_parallel_size=8), gpu_from("NVIDIA-H200"), EngineVersion(0, 33))
    except InvalidInput as found:
        refused.append(found.field)
    except Unsupported as found:
        refused.append(f"{VISION}: {found.reason}")
    assert all(VISION in field for field in refused)


@LAW
@given(name=st.sampled_from(SEEING), usual=st.sampled_from(sorted(TOWER_SPELLINGS)), data=st.data())
def test_a_dimension_spelled_otherwise_is_the_same(name: str, usual: str, data: st.DataObject) -> None:
    config = config_of(name)
    given = config.sub(VISION)
    assert given is not None
    group = [key for key in TOWER_SPELLINGS[usual] if key != "embed_dim"]
    spelled = [key for key in group if key in given]
    assume(len(spelled) == 1 and "embed_dim" not in given)
    renamed = {data.draw(st.sampled_from(group)) if key == spelled[0] else key: value for key, value in given.as_mapping().items()}
    read = tower_size(tower(HfConfig({**config.as_mapping(), VISION: renamed}), VISION))
    assert read == tower_size(tower(config, VISION))
