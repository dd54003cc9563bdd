"""The door of the weights part: a model's configuration and resolved arguments in, bytes of every pipeline stage out.

Chooses the family's builder and the quantisation method. Knows no layer itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from plimsoll_estimator.architectures import find_architecture
from plimsoll_estimator.hf_config import HfConfig, kept_with_config
from plimsoll_estimator.resolved import RankWeights, ResolvedArgs, Sight
from plimsoll_estimator.weights import (
    classic,
    deepseek_v4,
    dense,
    encoders,
    falcon_h1,
    gemma,
    gemma3n,
    hybrid_relatives,
    hybrids,
    kimi,
    mla,
    mllama,
    moe_families,
    multimodal,
    older,
    others,
    sparse_decoders,
)
from plimsoll_estimator.weights.decoder import build_decoder
from plimsoll_estimator.weights.quantization import method_for
from plimsoll_estimator.weights.rank import Rank

FAMILIES: Final[dict[str, Callable[[Rank], None]]] = {
    "llama": partial(build_decoder, style=dense.LLAMA),
    "cwm": partial(build_decoder, style=dense.CWM),
    "qwen2": partial(build_decoder, style=dense.QWEN2),
    "qwen3": partial(build_decoder, style=dense.QWEN3),
    "gemma": partial(build_decoder, style=dense.GEMMA),
    "gemma2": partial(build_decoder, style=dense.GEMMA2),
    "glm": partial(build_decoder, style=dense.GLM),
    "glm4": partial(build_decoder, style=dense.GLM4),
    "cohere": partial(build_decoder, style=dense.COHERE),
    "phi3": partial(build_decoder, style=dense.PHI3),
    "phi": partial(build_decoder, style=dense.PHI),
    "granite": partial(build_decoder, style=dense.GRANITE),
    "olmo": partial(build_decoder, style=dense.OLMO),
    "olmo2": partial(build_decoder, style=dense.OLMO2),
    "olmo3": partial(build_decoder, style=dense.OLMO3),
    "smollm3": partial(build_decoder, style=dense.SMOLLM3),
    "starcoder2": partial(build_decoder, style=dense.STARCODER2),
    "stablelm": partial(build_decoder, style=dense.STABLELM),
    "seed_oss": partial(build_decoder, style=dense.SEED_OSS),
    "exaone4": partial(build_decoder, style=dense.EXAONE4),
    "chatglm": partial(build_decoder, style=dense.CHATGLM),
    "mixtral": moe_families.mixtral,
    "qwen2_moe": moe_families.qwen2_moe,
    "qwen3_moe": moe_families.qwen3_moe,
    "olmoe": moe_families.olmoe,
    "phimoe": moe_families.phimoe,
    "granite_moe": moe_families.granite_moe,
    "minimax_m2": moe_families.minimax_m2,
    "gpt_oss": moe_families.gpt_oss,
    "ernie4_5_moe": moe_families.ernie4_5_moe,
    "glm4_moe": moe_families.glm4_moe,
    "deepseek": moe_families.deepseek,
    "deepseek_v2": mla.deepseek_v2,
    "deepseek_v4": deepseek_v4.deepseek_v4,
    "mllama": mllama.mllama,
    "minicpm3": mla.minicpm3,
    "gemma3": gemma.gemma3,
    "gemma4": gemma.gemma4,
    "gemma3n": gemma3n.gemma3n,
    "llama4": gemma.llama4,
    "qwen3_next": partial(hybrids.qwen_next, split_names=False, sparse=True),
    "qwen3_5": partial(hybrids.qwen_next, split_names=True, sparse=False),
    "qwen3_5_moe": partial(hybrids.qwen_next, split_names=True, sparse=True),
    "jamba": hybrids.jamba,
    "mamba": hybrids.mamba,
    "mamba2": hybrids.mamba2_model,
    "nemotron_h": hybrids.nemotron_h,
    "granite_hybrid": hybrids.granite_hybrid,
    "granite_moe_shared": partial(hybrids.granite_hybrid, default_positions="rope"),
    "falcon_h1": falcon_h1.falcon_h1,
    "lfm2": hybrids.lfm2,
    "internlm2": partial(build_decoder, style=dense.INTERNLM2),
    "exaone": partial(build_decoder, style=dense.EXAONE),
    "minicpm": partial(build_decoder, style=dense.MINICPM),
    "ernie4_5": partial(build_decoder, style=dense.ERNIE4_5),
    "arcee": partial(build_decoder, style=dense.ARCEE),
    "nemotron": partial(build_decoder, style=dense.NEMOTRON),
    "gpt2": partial(build_decoder, style=dense.GPT2),
    "gpt_neox": partial(build_decoder, style=dense.GPT_NEOX),
    "gpt_bigcode": older.gpt_bigcode,
    "gpt_j": older.gpt_j,
    "qwen": older.qwen,
    "baichuan": older.baichuan,
    "nemotron_nas": older.nemotron_nas,
    "bloom": others.bloom,
    "mpt": others.mpt,
    "apertus": others.apertus,
    "bamba": others.bamba,
    "lfm2_moe": others.lfm2_moe,
    "bailing_moe": others.bailing_moe,
    "dbrx": sparse_decoders.dbrx,
    "afmoe": sparse_decoders.afmoe,
    "dots1": sparse_decoders.dots1,
    "hunyuan": partial(build_decoder, style=dense.HUNYUAN),
    "hunyuan_moe": sparse_decoders.hunyuan_moe,
    "exaone_moe": sparse_decoders.exaone_moe,
    "hy_v3": sparse_decoders.hy_v3,
    "cohere2_moe": sparse_decoders.cohere2_moe,
    "flex_olmo": sparse_decoders.flex_olmo,
    "granite_moe_swa": sparse_decoders.granite_moe_swa,
    "granite_swa": older.granite_swa,
    "hyperclovax": older.hyperclovax,
    "persimmon": older.persimmon,
    "orion": partial(build_decoder, style=dense.ORION),
    "jais2": partial(build_decoder, style=dense.JAIS2),
    "plamo3": partial(build_decoder, style=dense.PLAMO3),
    "longcat": mla.longcat,
    "zamba2": hybrid_relatives.zamba2,
    "olmo_hybrid": hybrid_relatives.olmo_hybrid,
    "step3p5": hybrid_relatives.step3p5,
    "minimax_text_01": hybrid_relatives.minimax_text_01,
    "idefics3": multimodal.idefics3,
    "bert": encoders.bert,
    "modern_bert": encoders.modern_bert,
    "whisper": encoders.whisper,
    "llava": multimodal.llava,
    "llava_onevision": multimodal.llava_onevision,
    "llava_next_video": multimodal.llava_next_video,
    "paligemma": multimodal.paligemma,
    "cohere2_vision": multimodal.cohere2_vision,
    "glm_ocr": multimodal.glm_ocr,
    "paddleocr_vl": multimodal.paddleocr_vl,
    "lfm2_vl": multimodal.lfm2_vl,
    "aria": multimodal.aria,
    "exaone4_5": multimodal.exaone4_5,
    "qwen2_audio": multimodal.qwen2_audio,
    "qwen2_5_omni": multimodal.qwen2_5_omni,
    "qwen3_omni": multimodal.qwen3_omni,
    "phi3v": multimodal.phi3v,
    "step_vl": multimodal.step3_vl,
    "step3p7": multimodal.step3p7,
    "phi4mm": multimodal.phi4mm_model,
    "deepseek_ocr": multimodal.deepseek_ocr_model,
    "molmo": multimodal.molmo_model,
    "minicpm_v": multimodal.minicpm_v_model,
    "llava_next": multimodal.llava_next,
    "mistral3": multimodal.mistral3,
    "internvl": multimodal.internvl,
    "internvl_hf": multimodal.internvl_hf,
    "kimi_k3": multimodal.kimi_k3,
    "kimi_linear": kimi.kimi_linear,
    "kimi_vl": multimodal.kimi_vl,
    "falcon": classic.falcon,
    "opt": classic.opt,
    "mimo_v2": classic.mimo_v2,
    "minimax_m3": classic.minimax_m3,
    "minimax_m3_mm": multimodal.minimax_m3,
    "qwen2_vl": multimodal.qwen2_vl,
    "qwen2_5_vl": multimodal.qwen2_5_vl,
    "qwen3_vl": multimodal.qwen3_vl,
    "qwen3_vl_moe": multimodal.qwen3_vl_moe,
    "qwen3_5_mm": multimodal.qwen3_5,
    "qwen3_5_moe_mm": multimodal.qwen3_5_moe,
    "glm4v": multimodal.glm4v,
    "glm4v_moe": multimodal.glm4v_moe,
    "gemma3_mm": multimodal.gemma3,
    "gemma4_mm": multimodal.gemma4,
    "llama4_mm": multimodal.llama4,
    "kimi_k25": multimodal.kimi_k25,
}


_SIGHT: Final = Sight(
    unseen={
        "max_model_len": 0, "max_num_seqs": 0, "max_num_batched_tokens": 0, "max_in_flight_tokens": 0, "max_cudagraph_capture_size": 0,
        "gpu_memory_utilization": 0.0, "kv_cache_dtype": "", "block_size": None, "enable_prefix_caching": False,
        "enable_chunked_prefill": False, "enforce_eager": False, "uses_v2_model_runner": False, "async_scheduling": False,
        "nnodes": 1, "shares_experts": False,
    },
    given=("speculative_method", "speculative_model_config"),
)  # fmt: skip
"""Weights do not depend on batch sizes, context, budget, nor on the card beyond its capability."""

_SEES_LENGTH: Final = frozenset({"MiniMaxText01ForCausalLM", "MiniMaxM1ForCausalLM", "MiniMaxForCausalLM"})
"""Classes that cut their rope table at the length served."""


def weights_per_stage(config: HfConfig, resolved: ResolvedArgs) -> tuple[RankWeights, ...]:
    """Bytes of the fullest rank of every pipeline stage.

    Raises Unsupported for an architecture or quantisation without rules, EngineRefusal for shapes that vLLM's model
    classes refuse to build, InvalidInput for a configuration that lacks or garbles a dimension.
    """
    if resolved.given.limit_mm_per_prompt is not None or resolved.architecture in _SEES_LENGTH:  # cannot be remembered by
        return _stages(config, resolved)
    return _remembered(config, _SIGHT.key(resolved))


@kept_with_config
def _remembered(config: HfConfig, seen: tuple[object, ...]) -> tuple[RankWeights, ...]:
    """A search asks for the same layout on many cards and at many lengths."""
    return _stages(config, _SIGHT.resolved(seen))


def _stages(config: HfConfig, resolved: ResolvedArgs) -> tuple[RankWeights, ...]:
    build = FAMILIES[find_architecture(resolved.architecture).family]
    method = method_for(config, resolved)
    stages = []
    for stage in range(resolved.pipeline_parallel_size):
        rank = Rank(config, resolved, method, stage)
        build(rank)
        created = rank.created_bytes
        stages.append(RankWeights(created_bytes=created, loaded_bytes=created + rank.added_bytes))
    return tuple(stages)
