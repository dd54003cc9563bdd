"""Speed of the estimator, printed and held to floors of the same run. Run: make bench

One estimate from a parsed model, nothing remembered, beside parsing that model's config; and a whole search that prunes nothing:
every product with every tensor and pipeline size that its node could hold, the model parsed anew each time: a layout of it costs no more
than an estimate of its own.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from tests.bench.timing import FLOOR, Action, Row, forget, hold, show, taken

from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EstimatorError
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.resolved import Gpu

VERSION = EngineVersion(0, 33, 0)
POOLS = [
    ("NVIDIA-H100-80GB-HBM3", 8), ("NVIDIA-H200", 8), ("NVIDIA-A100-SXM4-80GB", 8), ("NVIDIA-B200", 8), ("NVIDIA-A100-SXM4-40GB", 8),
    ("NVIDIA-L40S", 4), ("NVIDIA-L4", 4), ("NVIDIA-L4", 1), ("NVIDIA-A10G", 1), ("NVIDIA-A10G", 4), ("Tesla-T4", 1), ("Tesla-T4", 4),
]  # fmt: skip
DENSE, MIXED = 30, 35
"""Most floors. Measured: 17 and 18 where all layers are alike, 16 to 20 else."""
AN_ESTIMATE = 1.1
"""Most floors a layout of a search. Measured: 0.5 and 0.65."""
MODELS = [
    ("dense", "meta-llama/Llama-3.1-8B-Instruct", DENSE), ("dense", "meta-llama/Llama-3.3-70B-Instruct", DENSE),
    ("experts", "Qwen/Qwen3-30B-A3B", MIXED), ("latent", "deepseek-ai/DeepSeek-R1", MIXED),
    ("windows", "google/gemma-3-27b-it", MIXED), ("hybrid", "Qwen/Qwen3-Next-80B-A3B-Instruct", MIXED),
]  # fmt: skip


def mapping_of(model: str) -> Mapping[str, Any]:
    config = lookup(model)
    assert config is not None, model
    return config.as_mapping()


def fresh(mapping: Mapping[str, Any], args: EngineArgs, gpu: Gpu) -> None:
    """With a config object of its own each time, so that nothing remembered helps."""
    estimate(HfConfig(mapping), args, gpu, VERSION)


def test_one_estimate() -> None:
    rows: list[Row] = []
    gpu = gpu_from("NVIDIA-H100-80GB-HBM3")
    args = EngineArgs(tensor_parallel_size=2, max_model_len=8192)
    for kind, model, most in MODELS:
        mapping = mapping_of(model)
        text = json.dumps(dict(mapping))
        actions = {FLOOR: Action(run=partial(HfConfig.from_json, text)), "one": Action(run=partial(fresh, mapping, args, gpu))}
        times = taken(actions, 300)
        rows.append((f"{kind:8s} {model}", times["one"], most, times[FLOOR]))
    show("one estimate from a parsed model; floor: parsing its config", rows)
    hold(rows)


def layouts() -> Iterator[tuple[Gpu, EngineArgs]]:
    for product, size in POOLS:
        card = gpu_from(product)
        for tensor in range(1, size + 1):
            for pipeline in range(1, size // tensor + 1):
                yield card, EngineArgs(tensor_parallel_size=tensor, pipeline_parallel_size=pipeline)


def test_whole_search() -> None:
    asked = list(layouts())
    assert len(asked) > 100
    rows: list[Row] = []
    for model in ("meta-llama/Llama-3.3-70B-Instruct", "Qwen/Qwen3-Next-80B-A3B-Instruct"):
        mapping = mapping_of(model)

        def search(mapping: Mapping[str, Any] = mapping) -> None:
            config = HfConfig(mapping)
            for card, args in asked:
                try:
                    estimate(config, args, card, VERSION)
                except EstimatorError:
                    continue

        one = Action(run=partial(fresh, mapping, EngineArgs(), asked[0][0]))
        times = taken({FLOOR: one, "search": Action(run=search, before=forget)}, 20)
        rows.append((model, times["search"], AN_ESTIMATE * len(asked), times[FLOOR]))
    show(f"unpruned search of {len(asked)} layouts over {len(POOLS)} pools; floor: one estimate", rows)
    hold(rows)
