"""A plan, a deployment that asks for it, and values of what is rendered."""

from typing import Any

from plimsoll_operator.api import InferenceDeployment, Plan, PredictedMemory, parse_inference_deployment

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


PLAN = Plan(
    product="NVIDIA-H100-80GB-HBM3",
    gpu_products=("NVIDIA-H100-80GB-HBM3",),
    pools=("h100",),
    engine_version="0.19.0",
    extrapolated=False,
    model="acme/tiny-8b",
    model_revision=None,
    tensor_parallel_size=2,
    pipeline_parallel_size=1,
    data_parallel_size=1,
    enable_expert_parallel=False,
    gpu_memory_utilization="0.931",
    max_model_len=32768,
    max_num_seqs=256,
    max_num_batched_tokens=8192,
    dtype="bfloat16",
    quantization="gptq",
    kv_cache_dtype="auto",
    gpus_per_replica=2,
    kv_cache_tokens=200000,
    max_concurrency="6.10",
    gpu_total_bytes=79 * GIB,
    allocated_bytes=73 * GIB,
    predicted=PredictedMemory(weights_bytes=1, activation_bytes=1, cuda_graph_bytes=1, non_torch_bytes=1, kv_cache_bytes=1),
    kv_cache_interval_bytes=(1, 2),
    kv_cache_needed_bytes=1,
    host_memory_bytes=20 * GIB + 1,
    available_now=True,
)


def value_of(flag: str, args: list[str]) -> str:
    (found,) = [token.partition("=")[2] for token in args if token.startswith(f"{flag}=")]
    return found
