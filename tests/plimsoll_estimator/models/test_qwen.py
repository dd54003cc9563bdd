"""Qwen3-Next and Qwen 3.5: which layers attend, what the others keep, where the experts are."""

from dataclasses import replace
from typing import Any

import pytest
from tests.plimsoll_estimator.models.hybrids import mixed, shape_of, shipped
from tests.plimsoll_estimator.published import H100, created_bytes
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.mixers import Attention, DeltaNet, Experts, Mlp

NEXT: dict[str, Any] = {"model_type": "qwen3_next", "num_hidden_layers": 8}
STATE = DeltaNet(key_heads=16, value_heads=32, key_dim=128, value_dim=128, kernel=4)


def test_layers_of_a_published_mixture() -> None:
    shape = shipped("Qwen/Qwen3-Next-80B-A3B-Instruct")
    assert mixed(shape) == " ".join(["3D 1A"] * 12)
    assert shape.mixers == (STATE, Attention(heads=16, kv_heads=2, head_dim=256, v_head_dim=256))
    assert {layer.ffn for layer in shape.layers} == {Experts(count=512, per_token=10, width=512, shared=512)}
    assert shape.hybrid


def test_qwen_3_5_says_in_which_dtype_its_states_are() -> None:
    shape = shipped("Qwen/Qwen3.5-27B")
    assert mixed(shape) == " ".join(["3D 1A"] * 16)
    state = shape.layers[0].mixers[0]
    assert isinstance(state, DeltaNet)
    assert (state.value_heads, state.state_dtype, state.checkpoints) == (48, "float32", True)
    assert {layer.ffn for layer in shape.layers} == {Mlp(width=17408)}


@pytest.mark.parametrize(
    ("sentence", "config", "layers"),
    [
        ("Qwen3NextConfig: every fourth layer attends", NEXT, "3D 1A 3D 1A"),
        ("the interval is the file's", {**NEXT, "full_attention_interval": 2}, "1D 1A 1D 1A 1D 1A 1D 1A"),
        ("a list wins over the interval", {**NEXT, "layer_types": ["full_attention"] + ["linear_attention"] * 7}, "1A 7D"),
    ],
)
def test_layers_that_attend_are_those_of_the_config_class(sentence: str, config: dict[str, Any], layers: str) -> None:
    assert mixed(shape_of("Qwen3NextForCausalLM", **config)) == layers, sentence


@pytest.mark.parametrize(
    ("sentence", "architecture", "config", "routed"),
    [
        ("experts everywhere by default", "Qwen3NextForCausalLM", NEXT, [0, 1, 2, 3, 4, 5, 6, 7]),
        ("every second layer", "Qwen3NextForCausalLM", {**NEXT, "decoder_sparse_step": 2}, [1, 3, 5, 7]),
        ("but for the listed", "Qwen3NextForCausalLM", {**NEXT, "mlp_only_layers": [0, 5]}, [1, 2, 3, 4, 6, 7]),
        ("no experts at all", "Qwen3NextForCausalLM", {**NEXT, "num_experts": 0}, []),
        (
            "Qwen3_5DecoderLayer asks neither key", "Qwen3_5MoeForCausalLM",
            {**NEXT, "model_type": "qwen3_5_moe_text", "decoder_sparse_step": 2, "mlp_only_layers": [0]}, [0, 1, 2, 3, 4, 5, 6, 7],
        ),
        ("Qwen3.5 without experts has none", "Qwen3_5ForCausalLM", {**NEXT, "model_type": "qwen3_5_text"}, []),
    ],
)  # fmt: skip
def test_layers_with_experts(sentence: str, architecture: str, config: dict[str, Any], routed: list[int]) -> None:
    assert [i for i, layer in enumerate(shape_of(architecture, **config).layers) if layer.routed] == routed, sentence


@pytest.mark.parametrize(
    ("sentence", "architecture", "keys", "modules"),
    [
        ("qwen3_next_mtp.py builds one where the file does not say", "Qwen3NextForCausalLM", {}, 1),
        ("and what it says else", "Qwen3NextForCausalLM", {"num_nextn_predict_layers": 2}, 2),
        ("qwen3_5_mtp.py likewise", "Qwen3_5ForCausalLM", {"model_type": "qwen3_5_text"}, 1),
        ("and by its own key", "Qwen3_5MoeForCausalLM", {"model_type": "qwen3_5_moe_text", "mtp_num_hidden_layers": 2}, 2),
    ],
)
def test_modules_of_prediction_are_layers_that_attend(sentence: str, architecture: str, keys: dict[str, Any], modules: int) -> None:
    shape = shape_of(architecture, **{**NEXT, **keys})
    assert shape.prediction_modules == modules, sentence
    assert all(module.attends and not module.mixes(DeltaNet) for module in shape.predictions)


def test_a_module_weighs_what_the_checkpoint_holds_of_it() -> None:
    """The mtp.* tensors of Qwen3-Next-80B-A3B-Instruct (model.safetensors.index.json): joint projection, attention, experts, norms."""
    hidden, width = 2048, 512
    attends = hidden * (2 * 16 * 256) + 2 * hidden * 2 * 256 + 16 * 256 * hidden
    experts = 3 * 512 * hidden * width + 512 * hidden + 3 * hidden * width + hidden
    norms = 3 * hidden + 2 * 256 + 2 * hidden
    config, gpu = config_of("Qwen/Qwen3-Next-80B-A3B-Instruct"), replace(H100, total_memory_bytes=200 << 30)
    plain = EngineArgs(max_model_len=4096)
    speculating = replace(plain, speculative_method="qwen3_next_mtp", num_speculative_tokens=1)
    alone, drafting = (estimate(config, args, gpu, EngineVersion(0, 19, 1)) for args in (plain, speculating))
    assert drafting.ranks[0].weights_bytes - alone.ranks[0].weights_bytes == pytest.approx(
        2 * (2 * hidden * hidden + attends + experts + norms), rel=0.001
    )


def test_a_layer_kind_without_a_rule_is_named() -> None:
    with pytest.raises(Unsupported, match="'sparse_attention'"):
        shape_of("Qwen3NextForCausalLM", **NEXT, layer_types=["sparse_attention"] * 8)


@pytest.mark.parametrize("count", [7, 9])
def test_a_list_that_is_not_as_long_as_the_layers_are_many_is_named(count: int) -> None:
    """PreTrainedConfig.validate_layer_type (Transformers 5.24)."""
    with pytest.raises(InvalidInput, match=r"layer_types.*must name each of the 8 layers"):
        shape_of("Qwen3NextForCausalLM", **NEXT, layer_types=["full_attention"] * count)


REWARD: dict[str, Any] = {"model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 4, "num_attention_heads": 28}


@pytest.mark.parametrize(("architecture", "labels"), [("Qwen2ForRewardModel", 1), ("Qwen2ForProcessRewardModel", 2)])
@pytest.mark.parametrize("tp", [1, 4])
def test_reward_models_have_two_linears_in_float32_for_a_head(architecture: str, labels: int, tp: int) -> None:
    """vllm/model_executor/models/qwen2_rm.py of 0.32.0: Qwen2RewardBaseModel.score; Qwen2.5-Math-RM and -PRM are such."""
    bare, headed = ({**REWARD, "architectures": [name]} for name in ("Qwen2Model", architecture))
    score = (3584 * 3584 // tp + 3584 // tp + 3584 * labels // tp + labels) * 4
    assert created_bytes(headed, "0.32.0", tp) - created_bytes(bare, "0.32.0", tp) == score
