"""DeepSeek 1 to V3.2, and what is built of its classes: GLM-5, GLM-4.7-Flash, Kimi-K2, Mistral Large 3, A.X K1.

`models.register` names it; `models.kimi` is its heir. Knows no quantisation.
Sources: vllm/model_executor/models/{deepseek,deepseek_v2,deepseek_mtp,glm4_moe_lite,AXK1}.py, vllm/models/deepseek_v32/attention.py.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle, stack
from plimsoll_estimator.layers.experts import MoeStyle, build_moe, feed_forward
from plimsoll_estimator.layers.latent import indexer, latent_attention, latent_rope
from plimsoll_estimator.layers.predictions import prediction_modules
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.mixers import Experts, Latent, Mlp
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, unless_causal
from plimsoll_estimator.models.stacks import behind_dense, predicted, routed_experts
from plimsoll_estimator.reader import MAX_LAYERS, MAX_WIDTH, positive
from plimsoll_estimator.shape import Dimensions, Layer

_STYLE = DecoderStyle(ties=False)


def deepseek_v2(rank: Rank, norms: int = 2, corrects: bool = False) -> None:
    """DeepseekV2/V3/V32ForCausalLM and their like. `norms` a layer; `corrects`: the router has a correction whatever the file says."""
    text, size, layers = rank.text, rank.shape.size, rank.shape.layers
    bias = text.bool("attention_bias")
    wide = text.str_or_none("moe_router_dtype") == "float32" or text.model_type == "glm_moe_dsa"
    sparse = MoeStyle(
        unsplit_since=EngineVersion(0, 11),
        correction=corrects or text.str_or_none("topk_method") == "noaux_tc",
        gate_item=4 if wide and rank.version.since(0, 20) and rank.version.before(0, 26) else 0,
    )

    def build(name: str, layer: Layer) -> None:
        mixer = layer.mixer(Latent)
        latent_attention(rank, f"{name}.self_attn", mixer, size.hidden_size, bias)
        indexer(rank, f"{name}.self_attn", mixer, size.hidden_size)
        feed_forward(rank, name, layer.ffn, _STYLE, sparse)
        rank.norm(size.hidden_size, count=norms)
        latent_rope(rank, mixer, size.positions)

    stack(rank, size, _STYLE, lambda i: build(f"layers.{i}", layers[i]), rank.kind)
    prediction_modules(rank, build)
    last = layers[-1].mixer(Latent)
    if last.index_head_dim and not text.bool("indexer_rope_interleave") and rank.version.since(0, 13):
        latent_rope(rank, last, size.positions, "indexer")


def _first_layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    block = routed_experts(text, positive(text, "moe_intermediate_size", limit=MAX_WIDTH))
    return stacks.attending([stacks.attention(size)] * size.layer_count, behind_dense(text, size, block))


def _latent_layers(text: HfConfig, size: Dimensions, first: int = 0) -> tuple[Layer, ...]:
    """Latent attention, with an indexer where the file names `index_topk`; experts behind the dense layers, `first` where it is silent."""
    count = size.layer_count
    ffns: list[Mlp] | list[Mlp | Experts] = [Mlp(width=size.intermediate_size)] * count
    if text.raw("n_routed_experts") is not None:
        ffns = behind_dense(text, size, routed_experts(text, positive(text, "moe_intermediate_size", limit=MAX_WIDTH)), first)
    full = stacks.cached_latent(text, size)
    if "index_topk" not in text:
        return stacks.attending([full] * count, ffns)
    chooses = replace(
        full,
        index_heads=positive(text, "index_n_heads", limit=MAX_WIDTH),
        index_head_dim=positive(text, "index_head_dim", limit=MAX_WIDTH),
    )
    follows = replace(chooses, shares_index=True)
    return stacks.stack([(chooses,) if own else (follows,) for own in _own_indexer(text, count)], ffns)


def _latent_predictions(text: HfConfig, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Layers like the last, but that always choose tokens themselves, and are of experts where any layer is (deepseek_mtp.py)."""
    routed = next((layer.ffn for layer in layers if layer.routed), layers[-1].ffn)
    return tuple(
        replace(layer, mixers=(replace(layer.mixer(Latent), shares_index=False),), ffn=routed) for layer in predicted(text, layers)
    )


def _own_indexer(text: HfConfig, count: int) -> list[bool]:
    """Which layers choose tokens: every n-th after an offset, or as the pattern says ("S" shares the layer before).

    vLLM reads these keys alone (deepseek_v2.py and deepseek_v32/attention.py); `indexer_types`, which Transformers saves, it ignores.
    """
    pattern = text.raw("index_topk_pattern")
    if isinstance(pattern, str | list | tuple):
        return [i >= len(pattern) or pattern[i] != "S" for i in range(count)]
    period, offset = positive(text, "index_topk_freq", default=1, limit=MAX_LAYERS), text.int("index_skip_topk_offset", default=2)
    return [max(i - offset + 1, 0) % period == 0 for i in range(count)]


def _latent(*classes: str, model_types: tuple[str, ...]) -> Model:
    return Model(classes=classes, model_types=model_types, weights=deepseek_v2, layers=_latent_layers, predictions=_latent_predictions)


_DRAFTER = "DeepSeekMTPModel"


V2 = replace(_latent("DeepseekV2ForCausalLM", "MistralLarge3ForCausalLM", model_types=("deepseek_v2",)), encodes=unless_causal)
V3 = replace(
    _latent("DeepseekV3ForCausalLM", model_types=("deepseek_v3", "kimi_k2")),
    encodes=unless_causal,
    drafter=_DRAFTER,
)
MODELS = (
    Model(
        classes=("DeepseekForCausalLM",),
        model_types=("deepseek",),
        weights=partial(build_moe, style=DecoderStyle(), sparse=MoeStyle()),
        layers=_first_layers,
    ),
    V2,
    V3,
    replace(_latent("DeepseekV32ForCausalLM", model_types=("deepseek_v32",)), drafter=_DRAFTER),
    replace(_latent("GlmMoeDsaForCausalLM", model_types=("glm_moe_dsa",)), drafter=_DRAFTER),
    replace(
        _latent("Glm4MoeLiteForCausalLM", model_types=("glm4_moe_lite",)),
        layers=partial(_latent_layers, first=1),
        drafter="Glm4MoeLiteMTPModel",
    ),
    Model(
        classes=("AXK1ForCausalLM",),
        model_types=("axk1", "AXK1"),
        weights=partial(deepseek_v2, norms=3, corrects=True),  # a norm behind the feed-forward block too
        layers=partial(_latent_layers, first=1),
        predictions=_latent_predictions,
    ),
)
