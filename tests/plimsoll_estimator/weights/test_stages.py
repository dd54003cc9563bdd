"""Pipeline stages whose layers are alike are built once, and weigh what each built by itself does."""

from __future__ import annotations

import pytest

from plimsoll_estimator import catalogue
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, EstimatorError
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.layers.rank import Rank
from plimsoll_estimator.models.register import find, read
from plimsoll_estimator.quantization.methods import method_for
from plimsoll_estimator.resolve import resolve
from plimsoll_estimator.resolved import ResolvedArgs
from plimsoll_estimator.weights import weights_per_stage

GPU = gpu_from("NVIDIA-H200")
VERSIONS = (EngineVersion(0, 11, 0), EngineVersion(0, 25, 1), EngineVersion(0, 33, 0))


def started(name: str, version: EngineVersion, stages: int) -> tuple[HfConfig, ResolvedArgs] | None:
    config = catalogue.lookup(name)
    assert config is not None
    try:
        resolved = resolve(config, EngineArgs(pipeline_parallel_size=stages), GPU, version)
        weights_per_stage(config, resolved)
    except (EngineRefusal, EstimatorError):
        return None
    return config, resolved


def each_by_itself(config: HfConfig, resolved: ResolvedArgs) -> list[tuple[int, int]]:
    """(created, loaded) bytes of every stage, with nothing known of the others."""
    found = []
    for stage in range(resolved.pipeline_parallel_size):
        shape = read(config, resolved.architecture)
        rank = Rank(config, resolved, method_for(config, resolved), stage, shape, {})
        find(config, resolved.architecture).weights(rank)
        found.append((rank.created_bytes, rank.created_bytes + rank.added_bytes))
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_a_stage_weighs_the_same_whatever_other_stages_have_built(version: EngineVersion) -> None:
    starts = [start for name in catalogue.names() for stages in (2, 5, 8) if (start := started(name, version, stages)) is not None]
    assert len(starts) > 100
    for config, resolved in starts:
        built = [(stage.created_bytes, stage.loaded_bytes) for stage in weights_per_stage(config, resolved)]
        assert built == each_by_itself(config, resolved), (resolved.architecture, resolved.pipeline_parallel_size)
