"""What vLLM's start-up holds beside weights and cache differently from release to release. Read by the modules of `overhead`.

Switches alone: figures that were fitted are rows of data/overheads.json, with `since` and `before`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.releases import Releases


@dataclass(frozen=True, slots=True, kw_only=True)
class OverheadRules:
    """Switches of one release. Defaults are those of the oldest known release (0.8)."""

    captures_adapters_apart: bool = False
    """Graphs are captured with and without active adapters (cudagraph_specialize_lora, on by default: config/compilation.py)."""
    lora_extra_rows: int = 256
    """Rows of vocabulary that each adapter may add (--lora-extra-vocab-size, deprecated in 0.11)."""
    caps_dummy_video: bool = False
    """The profile run's dummy video is no longer than a batch; before, towers with deepstack features saw 153600 tokens of it."""
    deducts_graphs: bool = False
    """The budget of the cache is lowered by an estimate of the graphs (v1/worker/gpu_model_runner.py: profile_cudagraph_memory)."""


_RELEASES: Final = Releases(
    OverheadRules(),
    (EngineVersion(0, 11), {"captures_adapters_apart": True}),
    (EngineVersion(0, 12), {"lora_extra_rows": 0}),
    (EngineVersion(0, 13), {"caps_dummy_video": True}),
    (EngineVersion(0, 20, 2), {"deducts_graphs": True}),
)


@lru_cache(maxsize=64)
def overhead_rules(version: EngineVersion) -> OverheadRules:
    """The switches of `version`."""
    return _RELEASES.of(version)
