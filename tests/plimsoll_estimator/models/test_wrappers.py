"""Classes that put a tower before whatever language model their text config names (vLLM init_vllm_registered_model): the language's own
record says its layers, whatever stands before it."""

from typing import Any

import pytest
from tests.plimsoll_estimator.models.built import answered
from tests.plimsoll_estimator.shipped import config_of

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.mixers import Attention, Experts, Mlp
from plimsoll_estimator.models.register import read
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.weights import weights_per_stage

SMALL: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
    "vocab_size": 256,
}  # fmt: skip
WRAPPERS = (
    "LlavaForConditionalGeneration", "LlavaNextForConditionalGeneration", "LlavaOnevisionForConditionalGeneration",
    "LlavaNextVideoForConditionalGeneration", "InternVLChatModel", "InternVLForConditionalGeneration", "InternS1ForConditionalGeneration",
    "Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration", "Mistral3ForConditionalGeneration",
    "PaliGemmaForConditionalGeneration", "Cohere2VisionForConditionalGeneration", "Qwen2AudioForConditionalGeneration",
    "StepVLForConditionalGeneration",
)  # fmt: skip


def test_llava_as_shipped_is_a_whole_llama() -> None:
    """Its text config says neither layers nor widths: LlamaConfig fills 32 layers of 4096 in."""
    config = config_of("llava-hf/llava-1.5-7b-hf")
    assert config is not None
    shape = read(config, "LlavaForConditionalGeneration")
    assert (len(shape.layers), shape.size.hidden_size, shape.size.heads) == (32, 4096, 32)
    assert shape.multimodal


@pytest.mark.parametrize("version", [EngineVersion(0, 11), EngineVersion(0, 19, 1), EngineVersion(0, 33)])
def test_llava_as_shipped_needs_what_it_needs_spelled_out(version: EngineVersion) -> None:
    """Weights, activation, graphs and cache see the same 32 layers of 4096, whether the file or the class says so."""
    config = config_of("llava-hf/llava-1.5-7b-hf")
    own = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32}
    spelled = HfConfig({**config.as_mapping(), "text_config": {**config.text.as_mapping(), **own}})
    shipped, written = (estimate(one, EngineArgs(max_model_len=4096), gpu_from("NVIDIA-L40S"), version) for one in (config, spelled))
    assert shipped == written
    assert min(shipped.ranks[0].activation_bytes, shipped.ranks[0].cuda_graph_pool_bytes) > 200 << 20


@pytest.mark.parametrize("architecture", WRAPPERS)
@pytest.mark.parametrize(
    ("sentence", "text", "windows", "routed"),
    [
        ("a llama", {"model_type": "llama"}, 0, 0),
        ("a Mistral with a window in every layer", {"model_type": "mistral", "sliding_window": 16}, 4, 0),
        ("a Qwen 2, which gives a window to no layer", {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 16}, 0, 0),
        ("a Qwen 3 with experts", {"model_type": "qwen3_moe", "num_experts": 8, "moe_intermediate_size": 32}, 0, 4),
    ],
)  # fmt: skip
def test_the_language_s_own_layers_stand_behind_every_wrapper(
    architecture: str, sentence: str, text: dict[str, Any], windows: int, routed: int
) -> None:
    shape = read(HfConfig({"architectures": [architecture], "text_config": {**SMALL, **text}}), architecture)
    assert len(shape.layers) == 4
    mixers = [mixer for layer in shape.layers for mixer in layer.mixers if isinstance(mixer, Attention)]
    assert sum(mixer.window == 16 for mixer in mixers) == windows, sentence
    assert sum(isinstance(layer.ffn, Experts) for layer in shape.layers) == routed, sentence
    assert shape.multimodal


def test_only_paligemma_s_image_tokens_see_one_another() -> None:
    """vLLM config/model.py is_mm_prefix_lm."""
    sees = {name for name in WRAPPERS if read(HfConfig({"text_config": {**SMALL, "model_type": "llama"}}), name).image_prefix}
    assert sees == {"PaliGemmaForConditionalGeneration"}


def test_a_text_without_a_type_is_what_the_outer_class_builds() -> None:
    """Idefics3Config: a llama without a text config; Transformers 5.24.0."""
    config = HfConfig({"model_type": "idefics3", "text_config": {"hidden_size": 128, "num_attention_heads": 4}})
    shape = read(config, "Idefics3ForConditionalGeneration")
    assert (shape.size.model_type, len(shape.layers), shape.size.hidden_size) == ("llama", 32, 128)
    assert shape.layers[0].ffn == Mlp(width=11008)


@pytest.mark.parametrize(
    ("sentence", "text", "verdict"),
    [
        ("Transformers lists no step3p5", {"model_type": "step3p5"}, "refused"),
        ("so its config must name the class", {"model_type": "step3p5", "architectures": ["Step3p5ForCausalLM"]}, "starts"),
        ("a mistral is listed", {"model_type": "mistral"}, "starts"),
    ],
)
def test_a_language_that_transformers_does_not_list_must_name_its_class(sentence: str, text: dict[str, Any], verdict: str) -> None:
    """vLLM 0.32.0's own classes: "No model architectures are specified" where the text config is silent."""
    vision = {"model_type": "pixtral", "num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 64}
    experts = {"moe_num_experts": 4, "moe_top_k": 2, "moe_intermediate_size": 32}
    config = {
        "architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3", "vision_config": vision, "dtype": "bfloat16",
        "text_config": {**SMALL, **experts, "max_position_embeddings": 1024, **text},
    }  # fmt: skip
    reply = answered(config, "0.32.0", {})
    assert reply["verdict"] == verdict, sentence
    if verdict == "refused":
        assert reply["reason"] == Check.LANGUAGE_MODEL_UNNAMED


@pytest.mark.parametrize("architecture", WRAPPERS)
@pytest.mark.parametrize("kind", ["novel", ""])
def test_a_language_that_no_record_claims_is_unsupported_by_name(architecture: str, kind: str) -> None:
    with pytest.raises(
        Unsupported, match=f"no rules for the language model {kind or 'without a model_type'} behind {architecture}"
    ) as doubt:
        read(HfConfig({"text_config": {**SMALL, "model_type": kind}}), architecture)
    assert doubt.value.reason == Check.UNSUPPORTED_ARCHITECTURE


def test_before_the_releases_that_were_read_an_unnamed_language_is_not_known() -> None:
    """A build of March 2026 (0.18) started Mistral Small 4 from a file that names no class of its language."""
    config = config_of("mistralai/Mistral-Small-4-119B-2603-W4A16")
    resolved = resolve(config, EngineArgs(tensor_parallel_size=2), gpu_from("NVIDIA-L40S"), EngineVersion(0, 18))
    with pytest.raises(Unsupported, match=r"whether vLLM 0\.18\.0 finds a class"):
        weights_per_stage(config, resolved)
