"""A plan, a deployment that asks for it, and values of what is rendered."""

from dataclasses import replace
from typing import Any

from tests.plimsoll_operator import plans

from plimsoll_operator.api import InferenceDeployment, parse_inference_deployment

GIB = 1 << 30


def wish(**spec: Any) -> InferenceDeployment:
    body = {"model": {"name": "acme/tiny-8b"}, "engine": {"image": "vllm/vllm-openai:v0.19.0"}, **spec}
    return parse_inference_deployment(
        {
            "apiVersion": "inference.plimsoll.dev/v1alpha1",
            "kind": "InferenceDeployment",
            "metadata": {"name": "chat", "namespace": "team", "uid": "u-1", "generation": 3},
            "spec": body,
        }
    )


PLAN = replace(
    plans.PLAN,
    product="NVIDIA-H100-80GB-HBM3",
    gpu_products=("NVIDIA-H100-80GB-HBM3",),
    pools=("h100",),
    model="acme/tiny-8b",
    tensor_parallel_size=2,
    gpu_memory_utilization="0.931",
    max_model_len=32768,
    max_num_batched_tokens=8192,
    quantization="gptq",
    gpus_per_replica=2,
    kv_cache_tokens=200000,
    max_concurrency="6.10",
    gpu_total_bytes=79 * GIB,
    allocated_bytes=73 * GIB,
    host_memory_bytes=20 * GIB + 1,
)


def value_of(flag: str, args: list[str]) -> str:
    (found,) = [token.partition("=")[2] for token in args if token.startswith(f"{flag}=")]
    return found
