"""vLLM's model classes by the name in `architectures`: which family builds them here, and of what kind they are.

`weights` looks a family's builder up by `family`; `resolve` and the operator ask whether a name is known. Names and grouping follow
vllm/model_executor/models/registry.py. Knows nothing of bytes.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final, Literal

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported

Kind = Literal["generate", "multimodal", "pooling", "encoder_decoder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One model class: `family` names the builder of its weights."""

    name: str
    family: str
    kind: Kind


_GENERATE: Final[dict[str, str]] = {
    "LlamaForCausalLM": "llama",
    "LLaMAForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "AquilaForCausalLM": "llama",
    "AquilaModelForCausalLM": "llama",
    "CwmForCausalLM": "cwm",
    "InternLMForCausalLM": "llama",
    "InternLM3ForCausalLM": "llama",
    "XverseForCausalLM": "llama",
    "YiForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "GlmForCausalLM": "glm",
    "Glm4ForCausalLM": "glm4",
    "CohereForCausalLM": "cohere",
    "Cohere2ForCausalLM": "cohere",
    "Phi3ForCausalLM": "phi3",
    "PhiForCausalLM": "phi",
    "GraniteForCausalLM": "granite",
    "Olmo2ForCausalLM": "olmo2",
    "Olmo3ForCausalLM": "olmo3",
    "OlmoForCausalLM": "olmo",
    "SmolLM3ForCausalLM": "smollm3",
    "Starcoder2ForCausalLM": "starcoder2",
    "StableLmForCausalLM": "stablelm",
    "StableLMEpochForCausalLM": "stablelm",
    "SeedOssForCausalLM": "seed_oss",
    "Exaone4ForCausalLM": "exaone4",
    "ChatGLMModel": "chatglm",
    "ChatGLMForConditionalGeneration": "chatglm",
    "MixtralForCausalLM": "mixtral",
    "Qwen2MoeForCausalLM": "qwen2_moe",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "OlmoeForCausalLM": "olmoe",
    "PhiMoEForCausalLM": "phimoe",
    "GraniteMoeForCausalLM": "granite_moe",
    "MiniMaxM2ForCausalLM": "minimax_m2",
    "MiniMaxText01ForCausalLM": "minimax_text_01",
    "MiniMaxM1ForCausalLM": "minimax_text_01",
    "MiniMaxForCausalLM": "minimax_text_01",
    "GptOssForCausalLM": "gpt_oss",
    "Ernie4_5_MoeForCausalLM": "ernie4_5_moe",
    "Glm4MoeForCausalLM": "glm4_moe",
    "DeepseekForCausalLM": "deepseek",
    "DeepseekV2ForCausalLM": "deepseek_v2",
    "DeepseekV3ForCausalLM": "deepseek_v2",
    "DeepseekV32ForCausalLM": "deepseek_v2",
    "GlmMoeDsaForCausalLM": "deepseek_v2",
    "DeepseekV4ForCausalLM": "deepseek_v4",
    "Glm4MoeLiteForCausalLM": "deepseek_v2",
    "MiniCPM3ForCausalLM": "minicpm3",
    "Gemma3ForCausalLM": "gemma3",
    "Gemma3TextModel": "gemma3",
    "Gemma3nForCausalLM": "gemma3n",
    "Gemma4ForCausalLM": "gemma4",
    "Llama4ForCausalLM": "llama4",
    "Qwen3NextForCausalLM": "qwen3_next",
    "Qwen3_5ForCausalLM": "qwen3_5",
    "Qwen3_5MoeForCausalLM": "qwen3_5_moe",
    "JambaForCausalLM": "jamba",
    "MambaForCausalLM": "mamba",
    "FalconMambaForCausalLM": "mamba",
    "Mamba2ForCausalLM": "mamba2",
    "NemotronHForCausalLM": "nemotron_h",
    "GraniteMoeHybridForCausalLM": "granite_hybrid",
    "Lfm2ForCausalLM": "lfm2",
    "FalconH1ForCausalLM": "falcon_h1",
    "KimiLinearForCausalLM": "kimi_linear",
    "BloomForCausalLM": "bloom",
    "MPTForCausalLM": "mpt",
    "MptForCausalLM": "mpt",
    "DbrxForCausalLM": "dbrx",
    "AfmoeForCausalLM": "afmoe",
    "Dots1ForCausalLM": "dots1",
    "HunYuanDenseV1ForCausalLM": "hunyuan",
    "HunYuanMoEV1ForCausalLM": "hunyuan_moe",
    "ExaoneMoeForCausalLM": "exaone_moe",
    "ExaoneMoEForCausalLM": "exaone_moe",
    "HYV3ForCausalLM": "hy_v3",
    "Cohere2MoeForCausalLM": "cohere2_moe",
    "FlexOlmoForCausalLM": "flex_olmo",
    "GraniteMoeSWAForCausalLM": "granite_moe_swa",
    "GraniteSWAForCausalLM": "granite_swa",
    "HyperCLOVAXForCausalLM": "hyperclovax",
    "PersimmonForCausalLM": "persimmon",
    "OrionForCausalLM": "orion",
    "Jais2ForCausalLM": "jais2",
    "Plamo3ForCausalLM": "plamo3",
    "LongcatFlashForCausalLM": "longcat",
    "AXK1ForCausalLM": "deepseek_v2",
    "MistralLarge3ForCausalLM": "deepseek_v2",
    "Zamba2ForCausalLM": "zamba2",
    "OlmoHybridForCausalLM": "olmo_hybrid",
    "Step3p5ForCausalLM": "step3p5",
    "TeleFLMForCausalLM": "llama",
    "TeleChat3ForCausalLM": "llama",
    "IQuestCoderForCausalLM": "llama",
    "ApertusForCausalLM": "apertus",
    "BambaForCausalLM": "bamba",
    "Lfm2MoeForCausalLM": "lfm2_moe",
    "BailingMoeForCausalLM": "bailing_moe",
    "BailingMoeV2ForCausalLM": "bailing_moe",
    "GraniteMoeSharedForCausalLM": "granite_moe_shared",
    "InternLM2ForCausalLM": "internlm2",
    "InternLM2VEForCausalLM": "internlm2",
    "ExaoneForCausalLM": "exaone",
    "MiniCPMForCausalLM": "minicpm",
    "MiMoForCausalLM": "qwen2",
    "Ministral3ForCausalLM": "llama",
    "SolarForCausalLM": "llama",
    "TeleChat2ForCausalLM": "llama",
    "Ernie4_5ForCausalLM": "ernie4_5",
    "Ernie4_5_ForCausalLM": "ernie4_5",
    "ArceeForCausalLM": "arcee",
    "NemotronForCausalLM": "nemotron",
    "GPT2LMHeadModel": "gpt2",
    "GPTNeoXForCausalLM": "gpt_neox",
    "GPTBigCodeForCausalLM": "gpt_bigcode",
    "GPTJForCausalLM": "gpt_j",
    "QWenLMHeadModel": "qwen",
    "BaichuanForCausalLM": "baichuan",
    "BaiChuanForCausalLM": "baichuan",
    "DeciLMForCausalLM": "nemotron_nas",
    "FalconForCausalLM": "falcon",
    "RWForCausalLM": "falcon",
    "OPTForCausalLM": "opt",
    "MiMoV2FlashForCausalLM": "mimo_v2",
    "MiMoV2ForCausalLM": "mimo_v2",
    "MiniMaxM3SparseForCausalLM": "minimax_m3",
    "MiniMaxM3ForCausalLM": "minimax_m3",
}
_MULTIMODAL: Final[dict[str, str]] = {
    "Qwen2VLForConditionalGeneration": "qwen2_vl",
    "Qwen2_5_VLForConditionalGeneration": "qwen2_5_vl",
    "Qwen3VLForConditionalGeneration": "qwen3_vl",
    "Qwen3VLMoeForConditionalGeneration": "qwen3_vl_moe",
    "Qwen3_5ForConditionalGeneration": "qwen3_5_mm",
    "Qwen3_5MoeForConditionalGeneration": "qwen3_5_moe_mm",
    "Glm4vForConditionalGeneration": "glm4v",
    "Glm4vMoeForConditionalGeneration": "glm4v_moe",
    "Gemma3ForConditionalGeneration": "gemma3_mm",
    "Gemma4ForConditionalGeneration": "gemma4_mm",
    "Llama4ForConditionalGeneration": "llama4_mm",
    "MllamaForConditionalGeneration": "mllama",
    "KimiK25ForConditionalGeneration": "kimi_k25",
    "MiniMaxM3SparseForConditionalGeneration": "minimax_m3_mm",
    "LlavaForConditionalGeneration": "llava",
    "LlavaOnevisionForConditionalGeneration": "llava_onevision",
    "LlavaNextVideoForConditionalGeneration": "llava_next_video",
    "PaliGemmaForConditionalGeneration": "paligemma",
    "Cohere2VisionForConditionalGeneration": "cohere2_vision",
    "GlmOcrForConditionalGeneration": "glm_ocr",
    "PaddleOCRVLForConditionalGeneration": "paddleocr_vl",
    "Lfm2VlForConditionalGeneration": "lfm2_vl",
    "AriaForConditionalGeneration": "aria",
    "Exaone4_5_ForConditionalGeneration": "exaone4_5",
    "Qwen2AudioForConditionalGeneration": "qwen2_audio",
    "Qwen2_5OmniModel": "qwen2_5_omni",
    "Qwen2_5OmniForConditionalGeneration": "qwen2_5_omni",
    "LlavaNextForConditionalGeneration": "llava_next",
    "Mistral3ForConditionalGeneration": "mistral3",
    "KimiK3ForConditionalGeneration": "kimi_k3",
    "KimiVLForConditionalGeneration": "kimi_vl",
    "InternVLChatModel": "internvl",
    "Idefics3ForConditionalGeneration": "idefics3",
    "SmolVLMForConditionalGeneration": "idefics3",
    "InternVLForConditionalGeneration": "internvl_hf",
    "InternS1ForConditionalGeneration": "internvl_hf",
    "Phi3VForCausalLM": "phi3v",
    "StepVLForConditionalGeneration": "step_vl",
    "Step3p7ForConditionalGeneration": "step3p7",
    "Phi4MMForCausalLM": "phi4mm",
    "DeepseekOCRForCausalLM": "deepseek_ocr",
    "MolmoForCausalLM": "molmo",
    "MiniCPMV": "minicpm_v",
    "Qwen3OmniMoeForConditionalGeneration": "qwen3_omni",
}
_POOLING: Final[dict[str, str]] = {
    "BertModel": "bert",
    "BertForSequenceClassification": "bert",
    "RobertaModel": "bert",
    "RobertaForSequenceClassification": "bert",
    "XLMRobertaModel": "bert",
    "XLMRobertaForSequenceClassification": "bert",
    "ModernBertModel": "modern_bert",
    "ModernBertForSequenceClassification": "modern_bert",
    "ModernBertForTokenClassification": "modern_bert",
    "BertForTokenClassification": "bert",
    "RobertaForTokenClassification": "bert",
    "XLMRobertaForTokenClassification": "bert",
    "RobertaForMaskedLM": "bert",
    "BgeM3EmbeddingModel": "bert",
}
_ENCODER_DECODER: Final[dict[str, str]] = {"WhisperForConditionalGeneration": "whisper"}
_TABLES: Final[tuple[tuple[Kind, dict[str, str]], ...]] = (
    ("generate", _GENERATE),
    ("multimodal", _MULTIMODAL),
    ("pooling", _POOLING),
    ("encoder_decoder", _ENCODER_DECODER),
)
ARCHITECTURES: Final[dict[str, Architecture]] = {
    name: Architecture(name=name, family=family, kind=kind) for kind, table in _TABLES for name, family in table.items()
}


def find_architecture(name: str) -> Architecture:
    """The class of this name; a bare "...Model" or a pooling head is its causal class without the head.

    Raises Unsupported(Check.UNSUPPORTED_ARCHITECTURE) naming what resembles it.
    """
    found = ARCHITECTURES.get(name)
    if found is not None:
        return found
    for ending in ("Model", "ForSequenceClassification", "ForTokenClassification", "ForRewardModel", "ForProcessRewardModel"):
        if name.endswith(ending):
            stem = name.removesuffix(ending)
            for other in ("ForCausalLM", "ForConditionalGeneration"):
                found = ARCHITECTURES.get(stem + other)
                if found is not None:
                    return Architecture(name=name, family=found.family, kind="pooling" if found.kind == "generate" else found.kind)
    close = difflib.get_close_matches(name, ARCHITECTURES, n=3, cutoff=0.6)
    hint = f"; the nearest known are {', '.join(close)}" if close else ""
    raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, f"no rules for the model architecture {name[:120]}{hint}")
