"""Models of a tower and a language model: which tower goes with which decoder, and on which pipeline stages towers live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.weights import (
    audio,
    classic,
    deepseek_ocr,
    dense,
    gemma,
    hybrid_relatives,
    hybrids,
    intern,
    kimi,
    minicpm_v,
    mla,
    moe_families,
    molmo,
    phi4mm,
    phi_vision,
    step_vl,
    towers,
    vision,
    vision_relatives,
)
from plimsoll_estimator.weights.decoder import build_decoder
from plimsoll_estimator.weights.rank import Rank

Builder = Callable[[Rank], None]
TOWER_ON_FIRST_STAGE_ONLY = (0, 33)


def with_tower(tower: Builder, language: Builder, quantised: bool = True) -> Builder:
    """The tower on the first stage (before 0.33 on every stage), then the language model. A tower may be built unquantised."""

    def build(rank: Rank) -> None:
        if rank.first or rank.version < TOWER_ON_FIRST_STAGE_ONLY:
            if quantised:
                tower(rank)
            else:
                rank.unquantised(tower)
        language(rank)

    return build


def _qwen3_vl_language(rank: Rank) -> None:
    build_decoder(rank, replace(dense.QWEN3, mrope_factor=1 if rank.version >= (0, 32) else 4))


def _glm4v_language(rank: Rank) -> None:
    build_decoder(rank, dense.GLM4)


def _qwen3_5(sparse: bool) -> Builder:
    return lambda rank: hybrids.qwen_next(rank, split_names=True, sparse=sparse)


def _text_language(rank: Rank) -> None:
    """The language model that a generic wrapper names by its text configuration."""
    text = rank.text
    kind = text.model_type
    names = text.list_or_none("architectures")
    known = {"mistral": dense.LLAMA, "ministral3": dense.LLAMA, "llama": dense.LLAMA, "qwen2": dense.QWEN2, "qwen3": dense.QWEN3}
    known |= {"granite": dense.GRANITE, "gemma": dense.GEMMA, "gemma2": dense.GEMMA2, "": dense.LLAMA}
    known |= {"phi3": dense.PHI3, "internlm2": dense.INTERNLM2, "cohere2": dense.COHERE, "cohere": dense.COHERE}
    sparse: dict[str, Builder] = {"qwen3_moe": moe_families.qwen3_moe, "gpt_oss": moe_families.gpt_oss}
    if kind in sparse:
        sparse[kind](rank)
        return
    style = known.get(kind)
    if style is None:
        raise Unsupported("UnsupportedArchitecture", f"no rules for the language model {str(names or kind)[:80]} behind this tower")
    if kind in ("", "llama", "mistral"):
        text = HfConfig(
            {**_LLAMA_DEFAULTS, **({"max_position_embeddings": 4096 * 32} if kind == "mistral" else {}), **text.as_mapping()}, text.path
        )
        rank.text = text
    build_decoder(rank, style)


# What Transformers' LlamaConfig fills in; LLaVA's text configurations name only what differs.
_LLAMA_DEFAULTS = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
}

llava = with_tower(towers.llava_tower, _text_language)


def _image_newline(language: Builder) -> Builder:
    """The vector that marks image rows belongs to the model itself, so every stage has it."""

    def build(rank: Rank) -> None:
        rank.tensor(rank.text.int("hidden_size", default=4096))
        language(rank)

    return build


llava_next = with_tower(towers.llava_tower, _image_newline(_text_language))
idefics3 = with_tower(towers.idefics3_tower, _text_language)
internvl = with_tower(intern.internvit_tower, _text_language)
internvl_hf = with_tower(intern.internvit_hf_tower, _text_language)
mistral3 = with_tower(towers.mistral3_tower, _text_language)
kimi_vl = with_tower(towers.kimi_vl_tower, mla.deepseek_v2, quantised=False)
qwen2_vl = with_tower(vision.qwen2_tower, lambda rank: build_decoder(rank, dense.QWEN2))
qwen2_5_vl = with_tower(vision.qwen2_5_tower, lambda rank: build_decoder(rank, dense.QWEN2))
qwen3_vl = with_tower(vision.qwen3_tower, _qwen3_vl_language)
qwen3_vl_moe = with_tower(vision.qwen3_tower, moe_families.qwen3_moe)
qwen3_5 = with_tower(vision.qwen3_tower, _qwen3_5(sparse=False))
qwen3_5_moe = with_tower(vision.qwen3_tower, _qwen3_5(sparse=True))
glm4v = with_tower(vision.glm4v_tower, _glm4v_language)
glm4v_moe = with_tower(vision.glm4v_tower, moe_families.glm4_moe)
gemma3 = with_tower(vision.gemma3_tower, gemma.gemma3)
gemma4 = with_tower(vision.gemma4_tower, gemma.gemma4)
llama4 = with_tower(vision.llama4_tower, gemma.llama4, quantised=False)
kimi_k25 = with_tower(vision.moonvit_tower, mla.deepseek_v2, quantised=False)
minimax_m3 = with_tower(vision.minimax_tower, classic.minimax_m3)
kimi_k3 = with_tower(kimi.kimi_k3_tower, kimi.kimi_k3_language, quantised=False)


def _omni_tower(rank: Rank) -> None:
    audio.omni_audio_tower(rank)
    vision.qwen2_5_tower(rank)


def _omni_towers(rank: Rank) -> None:
    rank.unquantised(audio.qwen3_omni_audio_tower)
    vision.qwen3_omni_tower(rank)


def _tied(language: Builder) -> Builder:
    """The language model with a tied head, whatever the outer configuration says."""

    def build(rank: Rank) -> None:
        rank.text = HfConfig({**rank.text.as_mapping(), "tie_word_embeddings": True}, rank.text.path)
        language(rank)

    return build


llava_onevision = with_tower(towers.whole_llava_tower, _image_newline(_text_language))
llava_next_video = with_tower(towers.whole_llava_tower, _text_language)
paligemma = with_tower(vision_relatives.paligemma_tower, _text_language)
cohere2_vision = with_tower(vision_relatives.cohere2_vision_tower, _text_language)
glm_ocr = with_tower(vision_relatives.glm_ocr_tower, lambda rank: build_decoder(rank, replace(dense.GLM4, partial_rotary=1.0)))
paddleocr_vl = with_tower(vision_relatives.paddleocr_tower, _tied(lambda rank: build_decoder(rank, dense.ERNIE4_5)))
lfm2_vl = with_tower(vision_relatives.lfm2_vl_tower, hybrids.lfm2)
aria = with_tower(vision_relatives.aria_tower, vision_relatives.aria_language)
exaone4_5 = with_tower(vision.qwen2_5_tower, lambda rank: build_decoder(rank, dense.EXAONE4))
qwen2_audio = with_tower(audio.qwen2_audio_tower, _text_language, quantised=False)
qwen2_5_omni = with_tower(_omni_tower, lambda rank: build_decoder(rank, dense.QWEN2))
phi3v = with_tower(phi_vision.phi3v_tower, lambda rank: build_decoder(rank, dense.LLAMA))
qwen3_omni = with_tower(_omni_towers, moe_families.qwen3_moe)
deepseek_ocr_model = with_tower(deepseek_ocr.deepseek_ocr_tower, deepseek_ocr.deepseek_ocr_language)
molmo_model = with_tower(molmo.molmo_tower, molmo.molmo_language)
minicpm_v_model = with_tower(minicpm_v.minicpm_v_tower, minicpm_v.minicpm_v_language)
phi4mm_model = with_tower(phi4mm.phi4mm_tower, lambda rank: build_decoder(rank, dense.LLAMA), quantised=False)
step3_vl = with_tower(step_vl.perception_tower, _text_language)
step3p7 = with_tower(step_vl.perception_tower, hybrid_relatives.step3p5)
