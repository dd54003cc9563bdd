"""What vLLM's quantisation methods store differently from release to release. Read by `methods`. Knows no bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.releases import Releases


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRules:
    """Switches of one release. Defaults are those of the oldest known release (0.8)."""

    uneven_merges: bool = False
    """fp8 blocks: merged columns whose parts are no multiples of a block are let through (layers/linear.py)."""
    float32_cache_scales: bool = False
    """compressed-tensors keeps the scales of the KV cache in float32 (compressed_tensors.py)."""
    weight_only_nvfp4: bool = False
    """ModelOpt's W4A16_NVFP4 has a method of its own; before, it was loaded as NVFP4 (quantization/modelopt.py)."""
    refines_blocks: bool = False
    """fp8 blocks of experts are subdivided where a rank's share cuts through them; before, that was refused."""
    quantises_online: Literal["after loading", "beside", "as it loads"] = "after loading"
    """When fp8 is made of a checkpoint that is not quantised (quantization/fp8.py, quantization/online/): module by module once all are
    there; with every original held until the last is read; or each as soon as it is read, and no original longer than that."""
    makes_mxfp4: bool = False
    """MXFP4 is made of weights that are not quantised, linears too; before, such linears stayed (quantization/online/mxfp4.py)."""
    mxfp4_drops_loaded_scales: bool = False
    """The scales as they were loaded are dropped once the kernel's layout of them is made (fused_moe/oracle/mxfp4.py)."""
    makes_index: bool = True
    """Marlin's classes make an index whether or not the checkpoint has act-order, and empty it after loading."""


_RELEASES: Final = Releases(
    StoredRules(),
    (EngineVersion(0, 13), {"quantises_online": "beside"}),
    (EngineVersion(0, 15), {"uneven_merges": True, "float32_cache_scales": True}),
    (EngineVersion(0, 16), {"quantises_online": "as it loads"}),
    (EngineVersion(0, 25, 1), {"mxfp4_drops_loaded_scales": True}),
    (EngineVersion(0, 26), {"weight_only_nvfp4": True}),
    (EngineVersion(0, 28), {"makes_mxfp4": True}),
    (EngineVersion(0, 29), {"refines_blocks": True}),
    (EngineVersion(0, 30), {"makes_index": False}),
)


@lru_cache(maxsize=64)
def stored_rules(version: EngineVersion) -> StoredRules:
    """The switches of `version`."""
    return _RELEASES.of(version)
