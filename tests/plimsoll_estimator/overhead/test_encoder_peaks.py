"""What the profile run sends through the towers of other makers than Qwen: how many items, and what one block holds of them at once.

Items are counted by vllm/multimodal/encoder_budget.py, sizes and lifetimes read in model_executor/models (0.19.0).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.models.register import shape_of
from plimsoll_estimator.overhead import language_alone, stage_overhead, widths_of
from plimsoll_estimator.overhead.activation import encoder_outputs_bytes, open_peak
from plimsoll_estimator.overhead.encoder import encoder_peak_bytes
from plimsoll_estimator.overhead.widths import Widths
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.resolved import Estimate, ResolvedArgs

GIB = 1 << 30
H100, B200, L4 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-B200", "NVIDIA-L4"
QWEN_2: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 151674,
    "max_position_embeddings": 32768,
    "torch_dtype": "bfloat16",
}
INTERN_VIT = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "image_size": 448,
    "patch_size": 14,
    "qkv_bias": True,
    "qk_normalization": False,
    "norm_type": "layer_norm",
}
SIGLIP = {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16, "intermediate_size": 4304, "patch_size": 14}
INTERNVL_3_8B = {
    "architectures": ["InternVLChatModel"],
    "model_type": "internvl_chat",
    "downsample_ratio": 0.5,
    "max_dynamic_patch": 12,
    "llm_config": QWEN_2,
    "vision_config": {"model_type": "intern_vit_6b", **INTERN_VIT},
}
INTERNVL_LLAMA = {
    **INTERNVL_3_8B,
    "llm_config": {**QWEN_2, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "head_dim": 128},
}
SMOL_VLM = {
    "architectures": ["SmolVLMForConditionalGeneration"],
    "model_type": "smolvlm",
    "scale_factor": 3,
    "text_config": {**QWEN_2, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "head_dim": 64,
                    "num_attention_heads": 32, "num_key_value_heads": 32, "intermediate_size": 8192, "vocab_size": 49280,
                    "max_position_embeddings": 8192},
    "vision_config": {"model_type": "smolvlm_vision", **SIGLIP, "image_size": 384},
}  # fmt: skip
MINICPM_V = {
    **QWEN_2,
    "architectures": ["MiniCPMV"],
    "model_type": "minicpmv",
    "version": 2.6,
    "query_num": 64,
    "vision_config": {"model_type": "siglip", **SIGLIP, "image_size": 980},
}


def named(name: str) -> dict[str, Any]:
    found = lookup(name)
    assert found is not None, name
    return dict(found.as_mapping())


GEMMA_3, LLAMA_4 = named("google/gemma-3-27b-it"), named("meta-llama/Llama-4-Scout-17B-16E-Instruct")
DEVSTRAL, KIMI_VL = named("mistralai/Devstral-Small-2-24B-Instruct-2512"), named("moonshotai/Kimi-VL-A3B-Instruct")


def setting(config: dict[str, Any], version: str = "0.19.0", product: str = H100, **arguments: Any) -> tuple[Widths, ResolvedArgs]:
    parsed = HfConfig(config)
    resolved = resolve(parsed, EngineArgs(**arguments), gpu_from(product), EngineVersion.parse(version))
    return widths_of(shape_of(parsed), text_only=language_alone(shape_of(parsed), resolved)), resolved


def peak(config: dict[str, Any], version: str = "0.19.0", product: str = H100, **arguments: Any) -> int:
    return encoder_peak_bytes(*setting(config, version, product, **arguments))


PIXELS = 3 * 14 * 14
SIGLIP_MLP = 2 * 1152 + 2 * 4304
"""Input and norm, both sides of the activation: wider than attention's seven hidden sizes."""
CASES = [
    ("Gemma 3: 4096 patches of SigLIP become 256 tokens, 32 images a step", GEMMA_3, {}, 32 * 4096, PIXELS + SIGLIP_MLP),
    ("and four on a card with small steps", GEMMA_3, {"max_num_batched_tokens": 1024}, 4 * 4096, PIXELS + SIGLIP_MLP),
    ("as many as prompts may bring", GEMMA_3, {"max_num_seqs": 2, "limit_mm_per_prompt": {"image": 3}}, 6 * 4096, PIXELS + SIGLIP_MLP),
    ("one of 256 tokens in a context of 512 twice", GEMMA_3, {"max_num_seqs": 1, "max_model_len": 512}, 2 * 4096, PIXELS + SIGLIP_MLP),
    ("Llama 4: 16 tiles and the whole, 2448 tokens; turned in float32", LLAMA_4, {"tensor_parallel_size": 4}, 3 * 17 * 577,
     PIXELS + 2 * 1408 + 11 * 1408 // 4),
    ("Kimi-VL: 4096 patches, 1024 tokens", KIMI_VL, {}, 8 * 4096, PIXELS + 13 * 1152),
    ("SmolVLM: 16 tiles and the whole, 81 tokens of 729 patches each", SMOL_VLM, {}, 5 * 17 * 729, PIXELS + SIGLIP_MLP),
    ("MiniCPM-V: nine slices and the whole, 64 queries each", MINICPM_V, {}, 12 * 10 * 1024, PIXELS + SIGLIP_MLP),
    ("InternVL without a token for videos: 12 tiles and the whole, 3328 tokens", INTERNVL_LLAMA, {}, 2 * 13 * 1025, PIXELS + 10 * 1024),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "config", "arguments", "patches", "elements"), CASES, ids=[case[0] for case in CASES])
def test_a_towers_peak_is_one_block_of_all_the_items_that_a_step_takes(
    sentence: str, config: dict[str, Any], arguments: dict[str, Any], patches: int, elements: int
) -> None:
    said = {"max_model_len": 8192, **arguments}
    assert peak(config, **said) == patches * elements * 2, sentence


def test_a_video_that_fills_the_context_is_what_internvl_profiles() -> None:
    # models/internvl.py, get_num_frames_with_most_features: what an image of 3328 tokens leaves of the context, 256 tokens a frame.
    widths, resolved = setting(INTERNVL_3_8B, max_model_len=32768)
    frames = (32768 - 3328) // 256
    assert encoder_peak_bytes(widths, resolved) == frames * 1025 * (PIXELS + 10 * 1024) * 2
    assert encoder_outputs_bytes(widths, resolved) == 2 * frames * 256 * 3584 * 2, "its outputs are held, and copied, with the step's"
    assert peak(INTERNVL_3_8B, max_model_len=32768, limit_mm_per_prompt={"video": 0}) == 2 * 13 * 1025 * (PIXELS + 10 * 1024) * 2
    alone = (32768 // 256) * 1025 * (PIXELS + 10 * 1024) * 2
    assert peak(INTERNVL_3_8B, max_model_len=32768, limit_mm_per_prompt={"image": 0}) == alone


QWEN_25_VL, FRAMES = named("Qwen/Qwen2.5-VL-7B-Instruct"), 65536
"""Patches of a pair of frames of the largest size, 16,384 tokens; the tower is 1280 wide, its MLP 3420."""
BLOCK = 3 * 2 * 14 * 14 + 5 * 1280 + 3 * 3420


@pytest.mark.parametrize(
    ("sentence", "version", "arguments", "frames"),
    [
        ("14 frames of the largest size, two to a token", "0.23.0", {}, 7),
        ("as many as the length holds", "0.23.0", {"max_model_len": 65536}, 4),
        ("no more than an image", "0.23.0", {"max_model_len": 32767}, 1),
        ("which is all where no video is admitted", "0.23.0", {"limit_mm_per_prompt": {"video": 0}}, 1),
    ],
)
def test_a_video_of_14_frames_is_what_qwens_second_towers_profile(
    sentence: str, version: str, arguments: dict[str, Any], frames: int
) -> None:
    """models/qwen2_vl.py: get_num_frames_with_most_features, _MAX_FRAMES_PER_VIDEO (0.11.0 to 0.33.0).

    Code index 55021192520, 0.23.0: "encoder cache initialized with a budget of 114688 tokens, and profiled with 1 video items".
    """
    said = {"max_model_len": 128000, "max_num_batched_tokens": 8192, **arguments}
    widths, resolved = setting({**QWEN_25_VL, "max_position_embeddings": 128000}, version, **said)
    assert encoder_peak_bytes(widths, resolved) == frames * FRAMES * BLOCK * 2, sentence
    assert encoder_outputs_bytes(widths, resolved) == 2 * frames * 16384 * 3584 * 2


def test_up_to_0_10_a_dummy_video_was_no_longer_than_a_batch() -> None:
    # v1/worker/gpu_model_runner.py: _get_mm_dummy_batch, seq_len=self.max_num_tokens (0.10.2), self.max_model_len (0.11.0).
    config = {**QWEN_25_VL, "max_position_embeddings": 128000}
    one, four = (peak(config, "0.10.2", max_num_batched_tokens=batch) for batch in (16384, 65536))
    assert four == 4 * one


@pytest.mark.parametrize(
    ("sentence", "version", "arguments", "hidden", "inner"),
    [
        ("gate, up and their product; the block's input, attention's sum, its norm, the output", "0.10.0", {}, 4, 3),
        ("the residual is added in a norm of PyTorch's, SiLU is apart from the product", "0.10.1", {}, 4, 4),
        ("until it is compiled with it", "0.15.0", {}, 5, 3),
    ],
)
def test_what_a_patch_holds_in_qwen_25s_mlp(sentence: str, version: str, arguments: dict[str, Any], hidden: int, inner: int) -> None:
    """models/qwen2_5_vl.py: Qwen2_5_VisionBlock, Qwen2_5_VisionMLP; layers/activation.py: SiluAndMul."""
    elements = 3 * 2 * 14 * 14 + hidden * 1280 + inner * 3420
    assert peak(QWEN_25_VL, version, max_model_len=8192, **arguments) == FRAMES * elements * 2, sentence


def test_vllms_own_kernels_write_where_they_read() -> None:
    # config/vllm.py: custom_ops are all on without Inductor; attention's eleven hidden sizes are then about as wide as the MLP.
    assert peak(QWEN_25_VL, "0.23.0", max_model_len=8192, enforce_eager=True) == FRAMES * (3 * 2 * 14 * 14 + 3 * 1280 + 3 * 3420) * 2


def test_the_pool_that_a_video_left_is_what_was_logged() -> None:
    # Code index 55021192520: 0.23.0 on an A100 at 22 %, the whole length of 128,000: -14.28 GiB, 0.53 of it deducted for graphs.
    found = estimate(
        HfConfig({**QWEN_25_VL, "max_position_embeddings": 128000}),
        EngineArgs(gpu_memory_utilization=0.22, compile_cache="cold"),
        gpu_from("NVIDIA-A100-SXM4-80GB"),
        EngineVersion(0, 23),
    )
    assert found.ranks[0].available_kv_cache_bytes / GIB == pytest.approx(-14.28, abs=0.1)


def test_a_tower_without_a_rule_widens_the_interval_and_is_named() -> None:
    # models/glm4_1v.py takes the size of an image from the processor's file, which no config.json holds.
    config, gpu, version = named("zai-org/GLM-4.1V-9B-Thinking"), gpu_from(H100), EngineVersion(0, 19)
    seen, blind = (
        estimate(HfConfig(config), EngineArgs(max_model_len=8192, max_num_seqs=8, limit_mm_per_prompt=limits), gpu, version)
        for limits in ({}, {"image": 0, "video": 0})
    )
    assert peak(config, max_model_len=8192) == 0, "it is not counted"
    assert ["not known" in warning for warning in seen.warnings] == [True]
    assert blind.warnings == ()

    def below(answer: Estimate) -> float:
        assert answer.available_kv_cache_interval_bytes is not None
        return (answer.ranks[0].available_kv_cache_bytes - answer.available_kv_cache_interval_bytes[0]) / GIB

    attention, mlp = 11 * 1536, 3 * 1536 + 3 * config["vision_config"]["intermediate_size"]
    taken = 65536 * (3 * 2 * 14 * 14 + max(attention, mlp)) * 2
    found = open_peak(*setting(config, max_model_len=8192, max_num_seqs=8)).encoder
    assert found == taken - seen.ranks[0].activation_bytes
    assert below(seen) > found / GIB > below(blind)


@pytest.mark.parametrize(
    ("sentence", "limits", "encodes"),
    [
        ("who limits images alone still shows videos", {"image": 0}, True),
        ("who limits videos alone still shows images", {"video": 0}, True),
        ("who limits both has a language model", {"image": 0, "video": 0}, False),
    ],
)
def test_a_tower_is_idle_only_where_nothing_that_it_sees_is_admitted(sentence: str, limits: dict[str, int], encodes: bool) -> None:
    """multimodal/encoder_budget.py: tower_modalities. Qwen3.5-4B on a 5090 with images at 0 left 0.68 GiB less than without an encoder."""
    assert (peak(named("Qwen/Qwen3.5-4B"), limit_mm_per_prompt=limits) > 0) is encodes, sentence


def test_images_are_all_that_gemma_3_sees() -> None:
    assert peak(GEMMA_3, limit_mm_per_prompt={"image": 0}) == 0


PIXTRAL = 2 * 12100 * (PIXELS + 3 * 1024 + 3 * 4096) * 2
"""Two images of 110 x 110 patches in a step of 8192 tokens, a gated MLP."""


@pytest.mark.parametrize(
    ("sentence", "version", "product", "arguments", "expected"),
    [
        ("with xFormers there is no mask", "0.11.2", H100, {}, PIXTRAL),
        ("which is not used on 10.0", "0.11.2", B200, {}, PIXTRAL + 24200**2 * 2),
        ("without it all patches stand against all", "0.12.0", H100, {}, PIXTRAL + 24200**2 * 2),
        ("on every rank", "0.19.0", H100, {"tensor_parallel_size": 4},
         2 * 12100 * (PIXELS + 3 * 1024 + 3 * 1024) * 2 + 24200**2 * 2),
        ("until sequences are packed", "0.29.0", H100, {}, PIXTRAL),
    ],
)  # fmt: skip
def test_pixtrals_mask_is_as_large_as_its_patches_squared(
    sentence: str, version: str, product: str, arguments: dict[str, Any], expected: int
) -> None:
    """models/pixtral.py: generate_block_attention_mask where xFormers is missing."""
    assert peak(DEVSTRAL, version, product, max_num_batched_tokens=8192, max_model_len=8192, **arguments) == expected, sentence


def test_releases_up_to_0_9_round_the_number_of_images_up() -> None:
    # "a budget of 8192 tokens, and profiled with 3 image items": Mistral Small 3.1 on 0.8.3 (github.com/vllm-project/vllm/issues/16292).
    before, after = (peak(DEVSTRAL, version, max_num_batched_tokens=8192, max_model_len=8192) for version in ("0.9.2", "0.10.0"))
    assert (before, after) == (3 * PIXTRAL // 2, PIXTRAL)


def test_the_v2_runner_encodes_in_its_profile_run_from_0_27() -> None:
    # github.com/vllm-project/vllm/pull/47985; before, v1/worker/gpu/model_runner.py: profile_run ran text alone.
    def found(version: str) -> tuple[bool, bool]:
        widths, resolved = setting(GEMMA_3, version, L4, max_model_len=8192)
        assert resolved.uses_v2_model_runner
        return encoder_peak_bytes(widths, resolved) > 0, encoder_outputs_bytes(widths, resolved) > 0

    assert found("0.26.0") == (False, False)
    assert found("0.27.0") == (True, True)


@pytest.mark.parametrize(
    ("source", "config", "arguments", "logged_gib"),
    [
        ("Gemma 3 27B", GEMMA_3, {}, 3.99),
        ("Kimi-VL", KIMI_VL, {}, 2.92),
        ("Llama 4 Scout", LLAMA_4, {"tensor_parallel_size": 4}, 3.19),
        ("Devstral Small 2", DEVSTRAL, {"tensor_parallel_size": 2}, 2.03),
    ],
)
def test_no_tower_is_said_to_take_more_than_a_start_logged_at_its_peak(
    source: str, config: dict[str, Any], arguments: dict[str, Any], logged_gib: float
) -> None:
    """github.com/llm-d-incubation/llm-d-planner/pull/205, 0.19.0 on an H100: there the language model's peak is the higher one."""
    widths, resolved = setting(config, max_model_len=8192, **arguments)
    assert encoder_peak_bytes(widths, resolved) / GIB < logged_gib, source
    assert stage_overhead(widths, resolved, 0).activation_bytes / GIB == pytest.approx(logged_gib, abs=0.07), source


def test_a_count_in_an_object_limits_as_a_number_does() -> None:
    """vLLM config/multimodal.py of 0.33.0 makes {"count": n} of a number before anything reads it."""
    config, gpu = lookup("Qwen/Qwen2.5-VL-7B-Instruct"), gpu_from("NVIDIA-H100-80GB-HBM3")
    assert config is not None
    for number in (0, 1):
        spelled = [
            estimate(config, EngineArgs(max_model_len=8192, limit_mm_per_prompt=limits), gpu, EngineVersion(0, 33)).ranks
            for limits in ({"image": number, "video": number}, {"image": {"count": number}, "video": {"count": number, "width": 64}})
        ]
        assert spelled[0] == spelled[1]


def test_a_tower_without_a_rule_widens_the_interval_where_it_may_take_more_than_the_language_model() -> None:
    alone = EngineArgs(max_model_len=8192, max_num_seqs=2, enforce_eager=True, max_num_batched_tokens=8192)
    config = lookup("google/gemma-4-E4B-it")
    assert config is not None
    seen = estimate(config, alone, gpu_from("NVIDIA-H200"), EngineVersion.parse("0.22.0"))
    text = estimate(
        config,
        replace(alone, limit_mm_per_prompt={"image": 0, "video": 0, "audio": 0}),
        gpu_from("NVIDIA-H200"),
        EngineVersion.parse("0.22.0"),
    )
    assert any("takes in the profile run is not known" in warning for warning in seen.warnings)
    assert not any("takes in the profile run is not known" in warning for warning in text.warnings)
