"""A plan for tests of what happens to plans: its sizes are small, and what a test is about is put in with dataclasses.replace."""

from typing import Final

from plimsoll_operator.api import Plan, PredictedMemory

PLAN: Final = Plan(
    product="NVIDIA-L4",
    gpu_products=("NVIDIA-L4",),
    pools=(),
    engine_version="0.19.0",
    extrapolated=False,
    model="acme/tiny",
    model_revision=None,
    tensor_parallel_size=1,
    pipeline_parallel_size=1,
    data_parallel_size=1,
    enable_expert_parallel=False,
    gpu_memory_utilization="0.9",
    max_model_len=8192,
    max_num_seqs=256,
    max_num_batched_tokens=2048,
    dtype="bfloat16",
    quantization=None,
    kv_cache_dtype="auto",
    gpus_per_replica=1,
    kv_cache_tokens=20000,
    max_concurrency="2.44",
    gpu_total_bytes=1,
    allocated_bytes=1,
    predicted=PredictedMemory(weights_bytes=1, activation_bytes=1, cuda_graph_bytes=1, non_torch_bytes=1, kv_cache_bytes=1),
    kv_cache_interval_bytes=(1, 2),
    kv_cache_needed_bytes=1,
    host_memory_bytes=1 << 30,
    available_now=True,
)
