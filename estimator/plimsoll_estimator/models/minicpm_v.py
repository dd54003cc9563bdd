"""MiniCPM-V 2.6, 4.0 and 4.5: SigLIP and a resampler of learned queries, before Qwen 2, Llama or Qwen 3.

`models.register` names it. Knows no quantisation.
Sources: vllm/model_executor/models/{minicpmv,idefics2_vision_model}.py and layers/resampler.py (0.12.0 to 0.33.0).
"""

from __future__ import annotations

from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.llama import DENSE as LLAMA
from plimsoll_estimator.models.qwen import DENSE_2, DENSE_3
from plimsoll_estimator.models.record import Model, seeing
from plimsoll_estimator.reader import tower_size
from plimsoll_estimator.shape import Dimensions, Layer
from plimsoll_estimator.towers.compose import behind
from plimsoll_estimator.towers.encoder import vision_config
from plimsoll_estimator.towers.siglip import siglip_blocks

_POSITIONS: Final = 70 * 70
_TIMES: Final = 36000
_LANGUAGES: Final[dict[str, tuple[Model, EngineVersion]]] = {
    "2.6": (DENSE_2, EngineVersion(0, 8)),
    "4.0": (LLAMA, EngineVersion(0, 10, 1)),
    "4.5": (DENSE_3, EngineVersion(0, 10, 2)),
}
"""By `version`: the language model, and the first release whose class knows it."""


def _version(config: HfConfig) -> str:
    """`version` of the configuration, a number or a string there. Raises Unsupported."""
    said = str(config.raw("version"))[:20]
    if said not in _LANGUAGES:
        raise Unsupported(Check.UNSUPPORTED_ARCHITECTURE, f"no rules for MiniCPM-V of version {said}; known are {', '.join(_LANGUAGES)}")
    return said


def minicpm_v_tower(rank: Rank) -> None:
    """SigLIP (divided, with its last norm), and the resampler with its tables of positions (whole); 4.5 has one of times too."""
    width, dropped = rank.shape.size.hidden_size, 1 if rank.config.bool("drop_vision_last_layer") else 0
    layers = tower_size(vision_config(rank)).layers - dropped
    hidden = siglip_blocks(rank, "vpm.encoder.layers", layers=layers).hidden_size
    rank.norm(hidden, bias=True)
    rank.tensor(rank.config.int("query_num", default=64) * width)
    if hidden != width:
        rank.replicated("resampler", ("kv_proj",), hidden, (width,))
    rank.tensor(3 * width * width)
    rank.norm(3 * width)
    rank.tensor(width * width)
    rank.norm(width)
    rank.norm(width, bias=True, count=3)
    rank.tensor(width * width)
    rank.tensor(_POSITIONS * width)
    if _version(rank.config) == "4.5":
        rank.tensor(_TIMES * width)


def minicpm_v_language(rank: Rank) -> None:
    """The language model of the version. Raises EngineRefusal for a release that does not know it."""
    said = _version(rank.config)
    language, since = _LANGUAGES[said]
    if rank.resolved.version < since:
        raise EngineRefusal(Check.UNSUPPORTED_MODEL_VERSION, f"MiniCPM-V {said} is supported since vLLM {since}")
    language.weights(rank)


def _layers(text: HfConfig, size: Dimensions) -> tuple[Layer, ...]:
    return _LANGUAGES[_version(text)][0].layers(text, size)


_LANGUAGE = Model(classes=(), model_types=("minicpmv",), weights=minicpm_v_language, layers=_layers)
MODELS = (seeing(_LANGUAGE, behind(minicpm_v_tower), classes=("MiniCPMV",)),)
