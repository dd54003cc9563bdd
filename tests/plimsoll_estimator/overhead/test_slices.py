"""What a slice of a card changes in an overhead beside its memory: multiprocessors that a kernel asks for."""

from dataclasses import replace

import pytest
from tests.plimsoll_estimator.overhead_models import model

from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.hardware import gpu_from
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.overhead.sampler import Sampler, sampler_of
from plimsoll_estimator.resolve import resolve


@pytest.mark.parametrize(
    ("version", "product", "capability", "sampler"),
    [
        # 0.31.0 topk_topp_sampler.py: flashinfer_sampler_supported, "top-k masking requires more than 16 SMs"
        ("0.30.0", "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", (9, 0), Sampler.FLASHINFER),
        ("0.31.0", "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", (9, 0), Sampler.TRITON),
        ("0.32.0", "NVIDIA-A100-SXM4-80GB-MIG-1g.20gb", (8, 0), Sampler.TRITON),
        ("0.32.0", "NVIDIA-H100-80GB-HBM3-MIG-2g.20gb", (9, 0), Sampler.FLASHINFER),
        ("0.32.0", "NVIDIA-H100-80GB-HBM3", (9, 0), Sampler.FLASHINFER),
    ],
)
def test_flashinfer_wants_more_than_16_multiprocessors(version: str, product: str, capability: tuple[int, int], sampler: Sampler) -> None:
    resolved = resolve(HfConfig(model()), EngineArgs(max_model_len=2048), gpu_from("NVIDIA-H100-80GB-HBM3"), EngineVersion.parse(version))
    assert sampler_of(replace(resolved, gpu=replace(resolved.gpu, product=product, compute_capability=capability))) is sampler
