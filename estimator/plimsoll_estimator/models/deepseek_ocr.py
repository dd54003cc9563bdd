"""DeepSeek-OCR: SAM's ViT-B and a CLIP ViT-L that reads its features, before DeepSeek's experts with ordinary attention.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{deepseek_ocr,deepencoder,deepseek_vl2,deepseek_v2}.py (0.13.0 and 0.33.0 agree).
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.decoder import DecoderStyle
from plimsoll_estimator.layers.experts import MoeStyle, build_moe
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models import stacks
from plimsoll_estimator.models.record import Model, seeing
from plimsoll_estimator.models.stacks import routed_experts, sparse_from, windowed
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.towers.clip import CLIP_LARGE, clip_blocks, large_image
from plimsoll_estimator.towers.compose import behind

_SAM_WIDTH: Final = 768
_SAM_LAYERS: Final = 12
_SAM_GLOBAL: Final = (2, 5, 8, 11)
_SAM_SIDE: Final = 64
_SAM_WINDOW: Final = 14
_SAM_HEAD: Final = 64


def _sam_tower(rank: Rank) -> None:
    """SAM's ViT-B with relative positions, its neck and two halving convolutions: whole on every rank, never quantised."""
    width = _SAM_WIDTH
    rank.tensor(width * 3 * 16 * 16 + width)
    rank.tensor(_SAM_SIDE * _SAM_SIDE * width)

    def block(i: int) -> None:
        side = _SAM_SIDE if i in _SAM_GLOBAL else _SAM_WINDOW
        rank.tensor(width * 3 * width + 3 * width)
        rank.tensor(width * width + width)
        rank.tensor(2 * (2 * side - 1) * _SAM_HEAD)
        rank.tensor(width * 4 * width + 4 * width)
        rank.tensor(4 * width * width + width)
        rank.norm(width, bias=True, count=2)

    rank.layers(range(_SAM_LAYERS), lambda i: i in _SAM_GLOBAL, block)
    rank.tensor(width * 256)
    rank.tensor(256 * 256 * 9)
    rank.norm(256, bias=True, count=2)
    rank.tensor(256 * 512 * 9)
    rank.tensor(512 * 1024 * 9)


def deepseek_ocr_tower(rank: Rank) -> None:
    """SAM, all of CLIP without its last norm (divided), a projection and two vectors between rows and views."""
    _sam_tower(rank)
    clip_blocks(rank, large_image(224), CLIP_LARGE, "vision_model.encoder.layers", layers=CLIP_LARGE.layers)
    projector = rank.config.sub("projector_config")
    if projector is None:
        raise InvalidInput(f"{rank.config.path}.projector_config", None, "is required")
    if projector.str_or_none("projector_type") != "linear":
        raise Unsupported(Check.UNSUPPORTED_VISION_TOWER, "no rules for a DeepSeek-OCR projector that is not linear")
    out = projector.int("n_embed")
    rank.tensor(projector.int("input_dim") * out + out)
    rank.norm(out, count=2)


def deepseek_ocr_language(rank: Rank) -> None:
    """DeepseekV2ForCausalLM with heads of no latent width: ordinary attention, shared experts."""
    build_moe(rank, DecoderStyle(), MoeStyle(unsplit_since=EngineVersion(0, 11)))


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    """Experts behind `first_k_dense_replace` layers. Raises Unsupported for latent attention."""
    if text.int_or_none("qk_nope_head_dim") or text.int_or_none("qk_rope_head_dim"):
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, "no rules for latent attention behind DeepSeek-OCR's towers")
    block = routed_experts(text, text.int("moe_intermediate_size"))
    ffns = sparse_from(size, block, first=text.int("first_k_dense_replace", default=0))
    return stacks.attending(windowed(text, size, stacks.attention(size)), ffns)


_LANGUAGE = Model(classes=(), model_types=("deepseek_v2",), weights=deepseek_ocr_language, layers=_layers)
MODELS = (seeing(_LANGUAGE, behind(deepseek_ocr_tower), classes=("DeepseekOCRForCausalLM",)),)
