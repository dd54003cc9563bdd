"""What vLLM's vision and audio towers build differently from release to release. Read by the towers. Knows no bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.releases import Releases


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerRules:
    """Switches of one release. Defaults are those of the oldest known release (0.8)."""

    rope_tables: bool = False
    """Qwen-like towers keep a table of rotary positions; before, its frequencies alone (models/qwen2_5_vl.py)."""
    divides_moonvit: bool = False
    """MoonViT's blocks are divided over ranks; in 0.13 they were whole on each (models/moonvit.py)."""
    moonvit_time_float32: bool = False
    """Time positions of a MoonViT that the model's quantisation reaches stay float32, else they become the model's (models/kimi_k25.py)."""
    divides_omni_audio: bool = False
    """Qwen3-Omni's audio tower is vLLM's own and divided; before, Transformers' (models/qwen3_omni_moe_thinker.py)."""
    whole_omni_attention: bool = False
    """Its attention is whole on every rank where heads do not divide; before, that was refused."""
    whole_omni_mlp: bool = False
    """Its MLP too, a release later."""
    first_stage_only: bool = False
    """Towers live on the first pipeline stage; before, on every one (models/interfaces.py: SupportsMultiModal)."""
    drops_unused: bool = False
    """A tower is not built where all its modalities are limited to no item (models/interfaces.py: _mark_tower_model)."""


_RELEASES: Final = Releases(
    TowerRules(),
    (EngineVersion(0, 13), {"rope_tables": True}),
    (EngineVersion(0, 15), {"divides_moonvit": True, "divides_omni_audio": True, "drops_unused": True}),
    (EngineVersion(0, 22), {"moonvit_time_float32": True}),
    (EngineVersion(0, 29), {"whole_omni_attention": True}),
    (EngineVersion(0, 30), {"whole_omni_mlp": True}),
    (EngineVersion(0, 33), {"first_stage_only": True}),
)


@lru_cache(maxsize=64)
def tower_rules(version: EngineVersion) -> TowerRules:
    """The switches of `version`."""
    return _RELEASES.of(version)
