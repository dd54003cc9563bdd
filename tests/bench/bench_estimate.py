"""Speed of the estimator, printed. Run: make bench

CPU time of this process, medians, from a parsed model; the ratio to parsing the model's own JSON, in the same run, is what to
compare between machines. The search is unpruned: every product with every tensor and pipeline size that its node could hold.
"""

import json
import statistics
import time

import pytest

from plimsoll_estimator.catalogue import lookup
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EstimatorError
from plimsoll_estimator.estimate import estimate
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig

VERSION = EngineVersion(0, 33, 0)
POOLS = [
    ("NVIDIA-H100-80GB-HBM3", 8), ("NVIDIA-H200", 8), ("NVIDIA-A100-SXM4-80GB", 8), ("NVIDIA-B200", 8), ("NVIDIA-A100-SXM4-40GB", 8),
    ("NVIDIA-L40S", 4), ("NVIDIA-L4", 4), ("NVIDIA-L4", 1), ("NVIDIA-A10G", 1), ("NVIDIA-A10G", 4), ("Tesla-T4", 1), ("Tesla-T4", 4),
]  # fmt: skip


def gpu(product):
    return gpu_from(product, None, None, None, None)


def median_us(action, rounds):
    times = []
    for _ in range(rounds):
        start = time.process_time_ns()
        action()
        times.append(time.process_time_ns() - start)
    return statistics.median(times) / 1000


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("dense", "meta-llama/Llama-3.1-8B-Instruct"), ("dense", "meta-llama/Llama-3.3-70B-Instruct"), ("experts", "Qwen/Qwen3-30B-A3B"),
        ("latent", "deepseek-ai/DeepSeek-R1"), ("windows", "google/gemma-3-27b-it"), ("hybrid", "Qwen/Qwen3-Next-80B-A3B-Instruct"),
    ],
)  # fmt: skip
def test_one_estimate(kind, model):
    config = lookup(model)
    assert config is not None, model
    text = json.dumps(dict(config.as_mapping()))
    floor = median_us(lambda: HfConfig.from_json(text), 200)
    args = EngineArgs(tensor_parallel_size=2, max_model_len=8192)
    mapping = config.as_mapping()  # a config object of its own each time, so that nothing remembered helps
    one = median_us(lambda: estimate(HfConfig(mapping), args, gpu("NVIDIA-H100-80GB-HBM3"), VERSION), 200)
    print(f"\n{kind:8s} {model:45s} one estimate {one:7.0f} us, {one / floor:5.1f} x parsing its config ({floor:.0f} us)")


def test_whole_search():
    config = lookup("meta-llama/Llama-3.3-70B-Instruct")
    assert config is not None
    asked = 0

    mapping = config.as_mapping()

    def search():
        nonlocal asked
        asked, config = 0, HfConfig(mapping)
        for product, size in POOLS:
            card = gpu(product)
            for tensor in range(1, size + 1):
                for pipeline in range(1, size // tensor + 1):
                    asked += 1
                    try:
                        estimate(config, EngineArgs(tensor_parallel_size=tensor, pipeline_parallel_size=pipeline), card, VERSION)
                    except EstimatorError:
                        continue

    took = median_us(search, 20) / 1000
    assert asked > 100
    print(f"\nunpruned search of {asked} layouts over 12 pools: {took:.1f} ms, {took / asked * 1000:.0f} us each")
