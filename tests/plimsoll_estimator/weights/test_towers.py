"""Towers beside a language model, held against published parameter counts; what of them every rank holds, and since which release.

Counts are of the safetensors files on the hub, as listed by llmfit (data/hf_models.json of 2026-05) unless a row says otherwise.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.folders import DATA as DATA_FOLDER
from tests.plimsoll_estimator.published import INTERNVIT_6B, INTERNVIT_300M, built, created_bytes, internvl_hf, padding_bytes, rope_bytes
from tests.plimsoll_estimator.weights.tower_models import DEEPSEEK_OCR, PHI4MM, QWEN3_OMNI

from plimsoll_estimator.errors import EngineRefusal, Unsupported

PHI3V: dict[str, Any] = {
    "architectures": ["Phi3VForCausalLM"],
    "model_type": "phi3_v",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32064,
    "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096,
    "rope_scaling": {"type": "su", "short_factor": [1.0] * 48, "long_factor": [1.0] * 48},
    "img_processor": {"image_dim_out": 1024, "model_name": "openai/clip-vit-large-patch14-336", "num_img_tokens": 144},
    "embd_layer": {"use_hd_transform": True, "with_learnable_separator": True},
    "tie_word_embeddings": False,
}
PHI3V_EMBEDDING = 32064 * 3072
CLIP_LAYER = 12 * 1024 * 1024 + 13 * 1024

AUDIO_ATTENTION = 32 * (4 * 1280 * 1280 + 3 * 1280) * 2
AUDIO_MLP = 32 * (2 * 1280 * 5120 + 5120) * 2

QWEN3_8B: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 153216,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": False,
}
QWEN3_235B: dict[str, Any] = {
    **QWEN3_8B,
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 1536,
    "num_hidden_layers": 94,
    "num_attention_heads": 64,
    "num_key_value_heads": 4,
    "num_experts": 128,
}


def interns1(tower: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    config = internvl_hf(tower, text)
    large = tower["hidden_size"] == 3200
    vision = {**config["vision_config"], "attention_bias": not large, "use_qk_norm": large}
    return {**config, "architectures": ["InternS1ForConditionalGeneration"], "vision_config": vision}


SAM = 95_569_152  # whole on every rank; its safetensors shapes added up


def molmo(**changed: Any) -> dict[str, Any]:
    common = {"architectures": ["MolmoForCausalLM"], "model_type": "molmo", "vocab_size": 152064, "embedding_size": 152064}
    return {**common, "max_position_embeddings": 4096, **changed}


def minicpm_v(release: float | str, **changed: Any) -> dict[str, Any]:
    vision = {"hidden_size": 1152, "image_size": 980, "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27}
    common = {"architectures": ["MiniCPMV"], "model_type": "minicpmv", "version": release, "query_num": 64}
    return {**common, "vision_config": {**vision, "patch_size": 14}, **changed}


SIGLIP_LAYER = 4 * (1152 * 1152 + 1152) + 2 * 1152 * 4304 + 4304 + 1152 + 4 * 1152
SIGLIP_POOLING = SIGLIP_LAYER - 2 * 1152 + 1152
# Adapters of rank 256 (vision) and 320 (speech) on all four linears of 32 layers: their inputs and outputs times their ranks.
PHI4MM_ADAPTERS = 32 * (256 + 320) * (3072 + 5120 + 2 * 3072 + 3072 + 16384 + 8192 + 3072)

PERCEPTION: dict[str, Any] = {
    "width": 1536,
    "layers": 47,
    "heads": 16,
    "mlp_ratio": 8960 / 1536,
    "image_size": 728,
    "patch_size": 14,
    "ls_init_value": 0.1,
    "use_cls_token": False,
    "use_ln_pre": True,
    "use_ln_post": False,
}
STEP3_VL = {
    "architectures": ["StepVLForConditionalGeneration"],
    "vision_config": PERCEPTION,
    "text_config": {**QWEN3_8B, "vocab_size": 151936},
}
PERCEPTION_TABLES = 47 * 52 * 52 * 96 * 4

MINICPM_V_4_5 = minicpm_v(
    4.5, hidden_size=4096, intermediate_size=12288, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8,
    head_dim=128, vocab_size=151748, max_position_embeddings=40960,
)  # fmt: skip


# (model, config, published parameters, bytes vLLM creates beyond them: rope tables, attention scalars, positions)
TOWERS: list[tuple[str, dict[str, Any], int, int]] = [
    (
        "Phi-3.5-vision (its parts' shapes added up, no count is listed; a second embedding, no last CLIP layer and norm)",
        PHI3V,
        4_146_621_440,
        2 * (PHI3V_EMBEDDING - CLIP_LAYER - 2 * 1024) + 577 * 8 + rope_bytes(96, 4096 + 131072) + 32 * 16,
    ),
    (
        "Qwen/Qwen3-Omni-30B-A3B-Captioner (a thinker alone; counted by MTEB's model table)",
        QWEN3_OMNI,
        31_719_205_488,
        1500 * 1280 * 4 + rope_bytes(36, 8192) + rope_bytes(128, 4 * 65536) + 48 * 16,
    ),
    ("internlm/Intern-S1-mini", interns1(INTERNVIT_300M, QWEN3_8B), 8_538_804_224, rope_bytes(128, 40960) + 36 * 16),
    ("internlm/Intern-S1", interns1(INTERNVIT_6B, QWEN3_235B), 240_709_856_128, rope_bytes(128, 40960) + 94 * 16),
]

TOWERS += [
    (
        "stepfun-ai/Step3-VL-10B (a table of rotations in every block)",
        STEP3_VL,
        10_171_750_144,
        rope_bytes(128, 40960) + 36 * 16 + PERCEPTION_TABLES,
    ),
    (
        "microsoft/Phi-4-multimodal-instruct (adapters, the last SigLIP layer, its norm and its pooling are not built)",
        PHI4MM,
        5_574_460_384,
        rope_bytes(96, 4096 + 131072) + 32 * 16 + 2 - 2 * (PHI4MM_ADAPTERS + SIGLIP_LAYER + 2 * 1152 + SIGLIP_POOLING),
    ),
    (
        "deepseek-ai/DeepSeek-OCR",
        DEEPSEEK_OCR,
        3_336_106_240,
        257 * 8 + rope_bytes(128, 8192) + 12 * 16,
    ),
    (
        "allenai/Molmo-7B-D-0924",
        molmo(
            hidden_size=3584, intermediate_size=37888, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
            qkv_bias=True,
        ),
        8_021_025_280,
        rope_bytes(128, 4096) + 28 * 16,
    ),
    (
        "allenai/Molmo-7B-O-0924",
        molmo(
            hidden_size=4096, intermediate_size=22016, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=None,
            vocab_size=100278, embedding_size=100352, attention_layer_norm=True, norm_after=True,
        ),
        7_665_032_192,
        rope_bytes(128, 4096) + 32 * 16,
    ),
    (
        "allenai/Molmo-72B-0924",
        molmo(
            hidden_size=8192, intermediate_size=59136, num_hidden_layers=80, num_attention_heads=64, num_key_value_heads=8,
            qkv_bias=True,
        ),
        73_308_285_952,
        rope_bytes(128, 4096) + 80 * 16,
    ),
    (
        "openbmb/MiniCPM-V-2_6 (the resampler's table of 70 by 70 positions)",
        minicpm_v(
            2.6, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
            vocab_size=151666, max_position_embeddings=32768,
        ),
        8_099_175_152,
        70 * 70 * 3584 * 2 + rope_bytes(128, 32768) + 28 * 16 + padding_bytes(151666, 3584, 2),
    ),
    (
        "openbmb/MiniCPM-V-4",
        minicpm_v(
            "4.0", hidden_size=2560, intermediate_size=10240, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=2,
            head_dim=128, vocab_size=73448, max_position_embeddings=32768,
        ),
        4_059_533_040,
        70 * 70 * 2560 * 2 + rope_bytes(128, 32768) + 32 * 16 + padding_bytes(73448, 2560, 2),
    ),
    (
        "openbmb/MiniCPM-V-4_5 (and one of 36000 times)",
        MINICPM_V_4_5,
        8_695_895_280,
        (70 * 70 + 36000) * 4096 * 2 + rope_bytes(128, 40960) + 36 * 16 + padding_bytes(151748, 4096, 2),
    ),
]  # fmt: skip


# Bytes that vLLM 0.33.0's own classes created on each rank, built without a GPU (Phi-3's configuration class stubbed).
PLANNED: list[tuple[str, dict[str, Any], dict[int, int]]] = [
    ("Phi-3.5-vision", PHI3V, {1: 8_491_004_936, 2: 4_282_052_616}),
    ("Qwen3-Omni-30B-A3B, the thinker", QWEN3_OMNI, {1: 63_513_790_432, 2: 31_830_523_248, 8: 9_194_745_244}),
]


@pytest.mark.parametrize(("model", "config", "ranks"), PLANNED, ids=[row[0] for row in PLANNED])
def test_created_bytes_are_those_of_the_engine(model: str, config: dict[str, Any], ranks: dict[int, int]) -> None:
    assert {size: created_bytes(config, "0.33.0", size) for size in ranks} == ranks, model


@pytest.mark.parametrize("version", ["0.19.1", "0.33.0"])
@pytest.mark.parametrize(("model", "config", "parameters", "beyond"), TOWERS, ids=[row[0] for row in TOWERS])
def test_created_bytes_are_the_published_parameters(model: str, config: dict[str, Any], parameters: int, beyond: int, version: str) -> None:
    assert created_bytes(config, version) == 2 * parameters + beyond


def test_loading_replaces_the_second_phi_embedding() -> None:
    """phi3v.py:load_weights; blocks of the caching allocator are rounded up by less than 2 MiB each."""
    weights = built(PHI3V, "0.33.0")
    assert 0 <= weights.loaded_bytes - (weights.created_bytes - 2 * PHI3V_EMBEDDING) < 200 * (2 << 20)


def test_a_phi_layer_index_builds_as_many_clip_layers() -> None:
    """phi3v.py: `layer_idx` -1 reads the last layer, and its norm is built then."""
    whole = {**PHI3V, "img_processor": {**PHI3V["img_processor"], "layer_idx": -1}}
    assert created_bytes(whole, "0.33.0") - created_bytes(PHI3V, "0.33.0") == 2 * (CLIP_LAYER + 2 * 1024)


@pytest.mark.parametrize(
    ("version", "tp", "spared"),
    [
        ("0.14.1", 2, 0),  # Transformers' own module, whole
        ("0.15.1", 2, (AUDIO_ATTENTION + AUDIO_MLP) // 2),
        ("0.33.0", 4, (AUDIO_ATTENTION + AUDIO_MLP) * 3 // 4),
        ("0.29.0", 8, AUDIO_MLP * 7 // 8),  # 20 heads by 8: attention stays whole
        ("0.33.0", 8, 0),  # and the MLP with it
    ],
)
def test_what_a_rank_is_spared_of_the_omni_audio_tower(version: str, tp: int, spared: int) -> None:
    """qwen3_omni_moe_thinker.py of 0.14.1, 0.15.1, 0.29.0 and 0.33.0."""
    thinker = QWEN3_OMNI["thinker_config"]
    deeper = {**thinker, "audio_config": {**thinker["audio_config"], "encoder_layers": 64}}
    added = created_bytes({**QWEN3_OMNI, "thinker_config": deeper}, version, tp) - created_bytes(QWEN3_OMNI, version, tp)
    whole = AUDIO_ATTENTION + AUDIO_MLP + 32 * (2 * 1280 + 2 * 2 * 1280) * 2
    assert added == whole - spared


def test_omni_heads_that_do_not_divide_were_refused() -> None:
    """qwen3_omni_moe_thinker.py of 0.28.0: 20 audio heads over 8 ranks."""
    with pytest.raises(EngineRefusal, match="20 is not divisible by 8"):
        created_bytes(QWEN3_OMNI, "0.28.0", tp=8)


def test_a_minicpm_without_its_last_tower_layer() -> None:
    """minicpmv.py: `drop_vision_last_layer`."""
    shorter = {**MINICPM_V_4_5, "drop_vision_last_layer": True}
    assert created_bytes(MINICPM_V_4_5, "0.33.0") - created_bytes(shorter, "0.33.0") == 2 * SIGLIP_LAYER


@pytest.mark.parametrize(("version", "release", "kind"), [("0.10.1", 4.5, EngineRefusal), ("0.33.0", 2.5, Unsupported)])
def test_which_releases_know_a_minicpm_version(version: str, release: float, kind: type[Exception]) -> None:
    """minicpmv.py:_SUPPORT_VERSION of 0.10.1 and 0.33.0; 2.0 and 2.5 have no rules here."""
    with pytest.raises(kind):
        created_bytes({**MINICPM_V_4_5, "version": release}, version)


def test_minicpm_resamplers_are_whole_on_every_rank() -> None:
    """resampler.py: plain modules; the tower before them is divided."""
    one, two = created_bytes(MINICPM_V_4_5, "0.33.0"), created_bytes(MINICPM_V_4_5, "0.33.0", tp=2)
    resampler = (5 * 4096 * 4096 + 1152 * 4096 + (64 + 70 * 70 + 36000) * 4096) * 2
    assert resampler // 2 < two - one // 2 < resampler // 2 + (16 << 20)


def test_of_deepseek_ocr_sam_is_whole_and_clip_divided() -> None:
    """deepencoder.py: SAM's linears are torch's own."""
    one, two = created_bytes(DEEPSEEK_OCR, "0.33.0"), created_bytes(DEEPSEEK_OCR, "0.33.0", tp=2)
    assert SAM < two - one // 2 < SAM + (8 << 20)


def test_molmo_divides_its_tower() -> None:
    """molmo.py: what stays whole on two ranks is positions, norms and the rope table."""
    config = next(row[1] for row in TOWERS if "Molmo-7B-D" in row[0])
    one, two = created_bytes(config, "0.33.0"), created_bytes(config, "0.33.0", tp=2)
    assert 0 < two - one // 2 < 4 << 20


def test_phi4_speech_is_whole_and_vision_divided() -> None:
    """phi4mm_audio.py: torch's own modules; 441,238,304 parameters and 25,178,112 of its projections."""
    one, two = created_bytes(PHI4MM, "0.33.0"), created_bytes(PHI4MM, "0.33.0", tp=2)
    whole = 441_238_304 + 25_178_112 + 12_982_272 + 1024 * 1152
    assert whole < two - one // 2 < whole + (16 << 20)


def test_a_phi4_speech_encoder_of_another_build_is_refused() -> None:
    """A window Q-Former before the projection has no rules here."""
    audio = {**PHI4MM["embd_layer"]["audio_embd_layer"], "use_qformer": True}
    with pytest.raises(Unsupported, match="use_qformer"):
        created_bytes({**PHI4MM, "embd_layer": {"audio_embd_layer": audio}}, "0.33.0")


def test_step_3_7_is_the_tower_of_step3_vl_before_step_3_5() -> None:
    """1,981,014,784 parameters are the tower and its projection: Step3-VL-10B without Qwen3-8B, and Transformers' own Step 3.7."""
    language = json.loads((DATA_FOLDER / "engine_cases.json").read_text())["configs"]["stepfun-ai/Step-3.5-Flash"]
    whole = {"architectures": ["Step3p7ForConditionalGeneration"], "vision_config": PERCEPTION, "text_config": language}
    assert created_bytes(whole, "0.33.0") - created_bytes(language, "0.33.0") == 2 * 1_981_014_784 + PERCEPTION_TABLES


def test_the_perception_encoder_is_divided_but_for_its_convolutions() -> None:
    """step_vl.py: Conv2dLayer and the tables are whole."""
    one, two = created_bytes(STEP3_VL, "0.33.0"), created_bytes(STEP3_VL, "0.33.0", tp=2)
    convolutions = (3 * 14 * 14 * 1536 + 9 * 1536 * 3072 + 9 * 3072 * 6144 + 52 * 52 * 1536) * 2 + PERCEPTION_TABLES
    assert convolutions // 2 < two - one // 2 < convolutions // 2 + (16 << 20)


def test_the_phi4_table_of_positions_is_loaded_but_no_buffer() -> None:
    """phi4mm_utils.py:AbsolutePositionalEncoding keeps 5000 rows as a plain attribute; blocks of 2 MiB add 5,240,832 bytes."""
    weights = built(PHI4MM, "0.33.0")
    assert weights.loaded_bytes - weights.created_bytes == 5000 * 1024 * 2 + 5_240_832
