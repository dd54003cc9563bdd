"""Speed of the estimator, printed and held to its targets. Run: make bench

One estimate from a parsed model, nothing remembered, beside parsing that model's config; and a whole search that prunes nothing:
every product with every tensor and pipeline size that its node could hold, the model parsed anew each time.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from tests.bench.timing import Row, forget, hold, show, taken

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
DENSE_US, HYBRID_US, SEARCH_US = 300, 1500, 30_000
MODELS = [
    ("dense", "meta-llama/Llama-3.1-8B-Instruct", DENSE_US), ("dense", "meta-llama/Llama-3.3-70B-Instruct", DENSE_US),
    ("experts", "Qwen/Qwen3-30B-A3B", HYBRID_US), ("latent", "deepseek-ai/DeepSeek-R1", HYBRID_US),
    ("windows", "google/gemma-3-27b-it", HYBRID_US), ("hybrid", "Qwen/Qwen3-Next-80B-A3B-Instruct", HYBRID_US),
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
    for kind, model, target in MODELS:
        mapping = mapping_of(model)
        text = json.dumps(dict(mapping))
        floor = taken(partial(HfConfig.from_json, text), 300)
        one = taken(partial(fresh, mapping, args, gpu), 300)
        rows.append((f"{kind:8s} {model}", one, target, floor))
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
    for model, target in (("meta-llama/Llama-3.3-70B-Instruct", SEARCH_US), ("Qwen/Qwen3-Next-80B-A3B-Instruct", None)):
        mapping = mapping_of(model)

        def search(mapping: Mapping[str, Any] = mapping) -> None:
            config = HfConfig(mapping)
            for card, args in asked:
                try:
                    estimate(config, args, card, VERSION)
                except EstimatorError:
                    continue

        floor = taken(partial(fresh, mapping, EngineArgs(), asked[0][0]), 100)
        rows.append((model, taken(search, 20, before=forget), target, floor))
    show(f"unpruned search of {len(asked)} layouts over {len(POOLS)} pools; floor: one estimate", rows)
    hold(rows)
