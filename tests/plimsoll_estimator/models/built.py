"""What the tests of a model line ask of a whole estimate: rows of what vLLM's own classes build and its own planner plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plimsoll_estimator.cases import answer_case
from plimsoll_estimator.units import GIB

H100 = {"product": "NVIDIA-H100-80GB-HBM3", "total_memory_bytes": int(79.18 * GIB)}


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What the engine made of a config and its arguments on H100, with `gib` bytes a rank for the cache.

    `created`: bytes of parameters and buffers of each pipeline stage's first rank, before post-processing. `blocks` 0: the planner
    refuses, and `tokens` is the longest context it would take.
    """

    says: str
    args: Mapping[str, Any] = field(default_factory=dict)
    gib: float = 40
    created: tuple[int, ...]
    blocks: int
    tokens: int
    concurrency: float = 0
    block_size: int = 16

    def __str__(self) -> str:
        return self.says


def answered(config: Mapping[str, Any], version: str, args: Mapping[str, Any], gib: float = 40) -> dict[str, Any]:
    """The batch door's answer for a config on H100."""
    case = {
        "model_config": config,
        "engine_version": version,
        "gpu": H100,
        "engine_args": args,
        "available_kv_cache_bytes": int(gib * GIB),
    }
    return answer_case(case, lambda name: None)


def planned(config: Mapping[str, Any], version: str, row: Planned) -> Planned:
    """What Plimsoll makes of the row's arguments, to be equal to the row."""
    reply = answered(config, version, row.args, row.gib)
    assert "ranks" in reply, reply
    refused = reply["verdict"] == "refused"
    width = row.args.get("tensor_parallel_size", 1)
    first = {rank["rank"] // width: rank["weights_created_bytes"] for rank in reversed(reply["ranks"])}
    return Planned(
        says=row.says,
        args=row.args,
        gib=row.gib,
        created=tuple(first[stage] for stage in sorted(first)),
        blocks=0 if refused else reply["num_gpu_blocks"],
        tokens=reply["estimated_max_model_len"] if refused else reply["kv_cache_tokens"],
        concurrency=0 if refused else reply["max_concurrency"],
        block_size=reply["block_size"],
    )
