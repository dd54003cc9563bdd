"""Which function builds the weights of a family, and which reads the caches of a model type: the tables of the model lines.

`weights` asks `FAMILIES` by `architectures.Architecture.family`; `kv_cache` asks `model_needs`. Knows no layer itself. A model type without
a row is ordinary attention unless its config carries the marks of another layer kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig, kept_with_config
from plimsoll_estimator.layers import keeps
from plimsoll_estimator.layers.caches import Family, dense_caches, keeps_nothing, refuse_unknown_marks, without_cache
from plimsoll_estimator.layers.needs import ModelNeeds
from plimsoll_estimator.layers.planner_rules import PlannerRules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.layers.text_shape import TextShape, text_shape
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
from plimsoll_estimator.models.architectures import find_architecture
from plimsoll_estimator.models.record import Model, Wrapper
from plimsoll_estimator.reader import MAX_WIDTH, VISION, dimensions, language, positive, text_type, tower
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.shape import Shape, Vision

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
"""Every record. Classes that are not here yet are in FAMILIES and CACHES."""

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
def find(config: HfConfig, architecture: str) -> Model | None:
    """The record of the class `architecture` around a config; a bare "...Model" or a pooling head is its causal class without the head.

    Raises Unsupported(UNSUPPORTED_ARCHITECTURE) for a model type that no record claims, unless the checkpoint brings code of its own, and
    for a wrapper around such a language model.
    """
    name = architecture
    ending = next((ending for ending in _HEADS if name.endswith(ending)), "")
    stem = name.removesuffix(ending)
    names = (name, *(stem + other for other in _GENERATES)) if ending else (name,)
    found = next((_CLASSES[known] for known in names if known in _CLASSES), None)
    kind = text_type(config)
    if isinstance(found, Wrapper):
        language_model = _LANGUAGES.get(kind)
        if language_model is None:
            raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, f"no rules for the language model {kind[:80]} behind {name[:80]}")
        return found.around(language_model)
    if found is not None and kind and kind not in _CLAIMED and "auto_map" not in config:
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, f"no rules for the model type {kind[:80]} of {name[:80]}")
    return found


@kept_with_config
def read(config: HfConfig, architecture: str) -> Shape:
    """What the config's model is, read once. Raises Unsupported as `find` and for layers without a rule, InvalidInput naming a key."""
    model, text = find(config, architecture), language(config)
    if model is None:
        find_architecture(architecture)  # names what resembles it
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, f"no rules for the model architecture {architecture[:120]}")
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


def builder(config: HfConfig, architecture: str) -> Callable[[Rank], None]:
    """What adds the weights of a class up. Raises Unsupported as `find`, and for a class that is not known."""
    model = find(config, architecture)
    return FAMILIES[find_architecture(architecture).family] if model is None else model.weights


FAMILIES: Final[dict[str, Callable[[Rank], None]]] = {}
CACHES: Final[dict[str, Family]] = {}
"""By `model_type` of the text configuration, else of the root."""


def model_needs(config: HfConfig, resolved: ResolvedArgs, rules: PlannerRules) -> ModelNeeds:
    """The needs of the model's layers. Raises Unsupported for a family without a rule."""
    architecture = architecture_of(config)
    if find(config, architecture) is not None:
        return keeps.model_needs(read(config, architecture), resolved, rules)
    text = language(config)
    if keeps_nothing(config, text):
        return without_cache()
    shape = text_shape(text)
    return _family(config, text, shape)(config, shape, resolved, rules)


def _family(config: HfConfig, text: HfConfig, shape: TextShape) -> Family:
    for model_type in (text.model_type, config.model_type):
        found = CACHES.get(model_type)
        if found is not None:
            return found
    refuse_unknown_marks(config, text)
    return dense_caches
