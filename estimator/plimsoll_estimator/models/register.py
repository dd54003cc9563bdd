"""Every model class that is known, and the record of a config: what its class is, and its shape.

`weights` asks for the builder, `kv_cache` for what the layers keep, everything else for the shape. Knows no layer itself. A class or model
type that no record claims is Unsupported by name, never an ordinary decoder.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig, kept_with_config
from plimsoll_estimator.layers import keeps
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.models import (
    afmoe,
    apertus,
    aria,
    baichuan,
    bailing,
    bamba,
    bert,
    bloom,
    cohere,
    cohere_vision,
    dbrx,
    deepseek,
    deepseek_ocr,
    deepseek_v4,
    dots,
    ernie,
    exaone,
    falcon,
    falcon_h1,
    gemma,
    gemma3n,
    glm,
    gpt,
    gpt_oss,
    granite,
    hunyuan,
    idefics,
    internvl,
    jamba,
    kimi,
    lfm2,
    llama,
    llama4,
    llava,
    longcat,
    mamba,
    mimo,
    minicpm,
    minicpm_v,
    minimax,
    mistral,
    mixtral,
    mllama,
    molmo,
    mpt,
    nemotron,
    olmo,
    opt,
    paddleocr,
    paligemma,
    persimmon,
    phi,
    qwen,
    qwen_audio,
    qwen_vl,
    stablelm,
    starcoder,
    step,
    whisper,
    zamba,
)
from plimsoll_estimator.models.record import Model, Wrapper
from plimsoll_estimator.reader import MAX_WIDTH, VISION, dimensions, language, positive, text_type, tower
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.shape import Shape, Vision
from plimsoll_estimator.towers.compose import Builder

MODELS: Final[tuple[Model | Wrapper, ...]] = (
    *afmoe.MODELS,
    *apertus.MODELS,
    *aria.MODELS,
    *baichuan.MODELS,
    *bailing.MODELS,
    *bamba.MODELS,
    *bert.MODELS,
    *bloom.MODELS,
    *cohere.MODELS,
    *cohere_vision.MODELS,
    *dbrx.MODELS,
    *deepseek.MODELS,
    *deepseek_ocr.MODELS,
    *deepseek_v4.MODELS,
    *dots.MODELS,
    *ernie.MODELS,
    *exaone.MODELS,
    *falcon.MODELS,
    *falcon_h1.MODELS,
    *gemma.MODELS,
    *gemma3n.MODELS,
    *glm.MODELS,
    *gpt.MODELS,
    *gpt_oss.MODELS,
    *granite.MODELS,
    *hunyuan.MODELS,
    *idefics.MODELS,
    *internvl.MODELS,
    *jamba.MODELS,
    *kimi.MODELS,
    *lfm2.MODELS,
    *llama.MODELS,
    *llama4.MODELS,
    *llava.MODELS,
    *longcat.MODELS,
    *mamba.MODELS,
    *mimo.MODELS,
    *minicpm.MODELS,
    *minicpm_v.MODELS,
    *minimax.MODELS,
    *mistral.MODELS,
    *mixtral.MODELS,
    *mllama.MODELS,
    *molmo.MODELS,
    *mpt.MODELS,
    *nemotron.MODELS,
    *olmo.MODELS,
    *opt.MODELS,
    *paddleocr.MODELS,
    *paligemma.MODELS,
    *persimmon.MODELS,
    *phi.MODELS,
    *qwen.MODELS,
    *qwen_audio.MODELS,
    *qwen_vl.MODELS,
    *stablelm.MODELS,
    *starcoder.MODELS,
    *step.MODELS,
    *whisper.MODELS,
    *zamba.MODELS,
)
"""Every record."""

_CLASSES: Final = {name: model for model in MODELS for name in model.classes}
_LANGUAGES: Final = {
    kind: model for model in reversed(MODELS) if isinstance(model, Model) and not model.multimodal for kind in model.model_types
}
_CLAIMED: Final = frozenset(kind for model in MODELS if isinstance(model, Model) for kind in model.model_types)
_HEADS: Final = ("Model", "ForSequenceClassification", "ForTokenClassification", "ForRewardModel", "ForProcessRewardModel")
_GENERATES: Final = ("ForCausalLM", "ForConditionalGeneration")
# Base classes of Transformers that are not spelt as their model type in camel case.
_BASE_CLASSES: Final = {
    "bert": "Bert", "chatglm": "ChatGLM", "ernie4_5": "Ernie4_5", "ernie4_5_moe": "Ernie4_5_Moe", "falcon_h1": "FalconH1",
    "gpt2": "GPT2", "gpt_neox": "GPTNeoX", "gptj": "GPTJ", "granitemoehybrid": "GraniteMoeHybrid", "minimax": "MiniMax",
    "modernbert": "ModernBert",
    "nemotron_h": "NemotronH", "opt": "OPT", "qwen2_5_vl": "Qwen2_5_VL", "qwen2_vl": "Qwen2VL", "qwen3_5": "Qwen3_5",
    "qwen3_5_moe": "Qwen3_5Moe", "xlm-roberta": "XLMRoberta",
}  # fmt: skip


def architecture_of(config: HfConfig) -> str:
    """The class vLLM picks. Without `architectures` it falls back to the base class of the model type (a pooling model)."""
    if config.list_or_none("architectures") or not config.model_type:
        return config.architecture
    camel = "".join(part.capitalize() for part in config.model_type.replace("-", "_").split("_"))
    return _BASE_CLASSES.get(config.model_type, camel) + "Model"


@kept_with_config
def find(config: HfConfig, architecture: str) -> Model:
    """The record of the class `architecture` around a config; a bare "...Model" or a pooling head is its causal class without the head.

    Raises Unsupported(UNSUPPORTED_ARCHITECTURE) naming what resembles a class that is not known; for a model type that no record claims,
    unless the checkpoint brings code of its own; and for a wrapper around such a language model.
    """
    found, kind = _named(architecture), text_type(config)
    if isinstance(found, Wrapper):
        language_model = _LANGUAGES.get(kind)
        if language_model is None:
            raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, f"no rules for the language model {kind[:80]} behind {architecture[:80]}")
        return found.around(language_model)
    if kind and kind not in _CLAIMED and "auto_map" not in config:
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, f"no rules for the model type {kind[:80]} of {architecture[:80]}")
    return found


def _named(architecture: str) -> Model | Wrapper:
    ending = next((ending for ending in _HEADS if architecture.endswith(ending)), "")
    stem = architecture.removesuffix(ending)
    names = (architecture, *(stem + other for other in _GENERATES)) if ending else (architecture,)
    for name in names:
        if name in _CLASSES:
            return _CLASSES[name]
    close = get_close_matches(architecture, _CLASSES, n=3, cutoff=0.6)
    hint = f"; the nearest known are {', '.join(close)}" if close else ""
    raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, f"no rules for the model architecture {architecture[:120]}{hint}")


@kept_with_config
def read(config: HfConfig, architecture: str) -> Shape:
    """What the config's model is, read once. Raises Unsupported as `find` and for layers without a rule, InvalidInput naming a key."""
    model, text = find(config, architecture), language(config)
    size = dimensions(config, model.overrides(text), attends=model.attends)
    layers = model.layers(text, size)
    return Shape(
        architecture=architecture,
        size=size,
        layers=layers,
        multimodal=model.multimodal,
        vision=_vision(config) if model.multimodal else None,
        attends_both_ways=model.encodes(text),
        image_prefix=model.image_prefix(config),
        predictions=model.predictions(text, layers),
        chunk_size=positive(text, "mamba_chunk_size", "chunk_size", default=2048, limit=MAX_WIDTH),
    )


def _vision(config: HfConfig) -> Vision:
    """What the tower's configuration says of its outputs; nothing of a class that hears only, or reads no keys of a tower."""
    held = tower(config, VISION)
    levels = held.list_or_none("deepstack_visual_indexes") or ()
    return Vision(merges_patches="spatial_merge_size" in held, deepstack_levels=len(levels))


def builder(config: HfConfig, architecture: str) -> Builder:
    """What adds the weights of a class up. Raises Unsupported as `find`."""
    return find(config, architecture).weights


def model_needs(config: HfConfig, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """What the model's layers keep in the cache. Raises Unsupported as `read`, and for what no release's planner has a rule for."""
    return keeps.model_needs(read(config, _layers_of(config)), resolved, rules)


def _layers_of(config: HfConfig) -> str:
    """The class whose layers a config has: an EAGLE head, which only drafts, has those of the language model that its type names."""
    name, kind = architecture_of(config), text_type(config)
    return _LANGUAGES[kind].classes[0] if "Eagle" in name and kind in _LANGUAGES else name
