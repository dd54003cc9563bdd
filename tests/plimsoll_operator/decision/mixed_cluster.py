"""A mixed cluster and what twelve models must get on it, derived by hand. Used by test_mixed_cluster.

The cluster, in GiB of one GPU as CUDA has it (data/gpus.json) and, at the utilisation that leaves room for what vLLM allocates outside its
budget, about what of it is for the engine:

    8 H100-80      79.2 / 73.9      free
    8 A100-40      39.5 / 36        free
    4 L4           22.0 / 20.3      free
    8 H200        139.8 / 131       none yet: Karpenter may bring two nodes
    56 MIG 1g.10gb, 4 time-sliced parts of one T4, 8 MI300X, 6 GPUs on a node that is labelled with 4 L4: not planned with

Rules of the derivation: what has to fit on one GPU is weights / GPUs + the cache of one request of 8192 tokens + activations and graphs
(0.5 to 1.5). Of what fits, free now comes first, then the fewest GPUs, then the lowest cost, which is GPUs times their memory.

Weights are parameters times bytes: counts as published with each checkpoint, 2 bytes of bf16, or the size of the published files in
another type. Cache per token: 2 x layers x KV heads x head size x 2 bytes; DeepSeek's latents: layers x 576 x 2 bytes on every GPU.
"""

from tests.plimsoll_operator.decision_world import LLAMA_8B, LLAMA_70B, Files
from tests.plimsoll_operator.nodes import H100, L4, gpu_node

from plimsoll_operator.api import GPUPool, parse_object
from plimsoll_operator.names import API_VERSION

CONTEXT = 8192

A100 = gpu_node("a100", "NVIDIA-A100-SXM4-40GB", 8, 40960)
SLICED_T4 = gpu_node(
    "t4", "Tesla-T4-SHARED", 1, 15360, labels={"nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing"}
)
SLICED_T4["status"]["allocatable"]["nvidia.com/gpu"] = "4"
AMBIGUOUS = gpu_node("odd", "NVIDIA-L4", 4, 23034)
AMBIGUOUS["status"]["allocatable"]["nvidia.com/gpu"] = "6"
MIG = gpu_node("mig", "NVIDIA-A100-SXM4-80GB", 0, 81920, labels={
    "nvidia.com/mig.strategy": "mixed", "nvidia.com/mig-1g.10gb.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb",
    "nvidia.com/mig-1g.10gb.count": "56", "nvidia.com/mig-1g.10gb.memory": "9728"})  # fmt: skip
MIG["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = "56"
MI300X = gpu_node("mi300x", "x", 0, 0)
MI300X["metadata"]["labels"] = {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "192G"}
MI300X["status"]["allocatable"] |= {"amd.com/gpu": "8"}
NODES = (H100, A100, L4, SLICED_T4, AMBIGUOUS, MIG, MI300X)

KARPENTER = ("karpenter.k8s.aws/instance-gpu-name", "h200")
H200_AT_ZERO = parse_object(GPUPool, {"apiVersion": API_VERSION, "kind": "GPUPool", "metadata": {"name": "karpenter-h200"}, "spec": {
    "declared": True, "product": "NVIDIA-H200", "gpusPerNode": 8, "maxNodes": 2, "usableMemoryBytes": 143165 << 20,
    "node": {"hostMemoryBytes": "1800Gi", "cpu": "190", "labels": dict([KARPENTER, ("karpenter.sh/nodepool", "gpu-h200")])}}})  # fmt: skip

# model, weights (billions of bytes), cache of one request (GiB on one GPU), GPU, tensor parallel size, free now, why
TABLE = [
    ("Qwen/Qwen2.5-0.5B", 0.494 * 2, 0.09, "NVIDIA-L4", 1, True, "fits every GPU: the cheapest"),
    ("mistralai/Mistral-7B-Instruct-v0.3", 7.248 * 2, 1.0, "NVIDIA-L4", 1, True, "13.5 + 1.0: one L4 (20.3)"),
    (LLAMA_8B, 8.030 * 2, 1.0, "NVIDIA-L4", 1, True, "15.0 + 1.0: one L4"),
    ("openai/gpt-oss-20b", 13.76, 0.24, "NVIDIA-L4", 1, True, "12.8 of mxfp4, 13.7 as its kernels pad it: one L4"),
    ("Qwen/Qwen3-14B", 14.768 * 2, 1.25, "NVIDIA-A100-SXM4-40GB", 1, True, "27.5 is above an L4; two L4 are one GPU more than an A100"),
    ("microsoft/phi-4", 14.660 * 2, 1.56, "NVIDIA-A100-SXM4-40GB", 1, True, "27.3 is above an L4"),
    ("google/gemma-2-27b-it", 27.227 * 2, 2.88, "NVIDIA-H100-80GB-HBM3", 1, True, "50.7: one H100 rather than two A100"),
    ("Qwen/Qwen3-30B-A3B", 30.532 * 2, 0.75, "NVIDIA-H100-80GB-HBM3", 1, True, "56.9: all experts stay in memory"),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", 46.703 * 2, 0.5, "NVIDIA-H100-80GB-HBM3", 2, True, "87.0: half is above an A100 (36)"),
    (LLAMA_70B, 70.554 * 2, 1.25, "NVIDIA-H100-80GB-HBM3", 2, True, "131.4: 65.7 on each of two H100"),
    ("meta-llama/Llama-3.1-405B", 405.853 * 2, 0.49, "NVIDIA-H200", 8, False, "756: an eighth, 94.5, is above an H100: the pool at zero"),
    ("deepseek-ai/DeepSeek-V3", 684.5, 0.54, "NVIDIA-H200", 8, False, "637 in fp8: an eighth, 79.7, is above an H100 (73.9)"),
]  # fmt: skip

# pool's node, words of the reason why nothing is planned there
LEFT_OUT = [
    ("tesla-t4", "shares its GPUs (time-slicing)"),
    ("nvidia-a100-sxm4-80gb-mig-1g-10gb", "shares its GPUs (mig), which placement.sharing: mig asks for"),
    ("amd-instinct-mi300x-oam", "has amd GPUs (VendorUnsupported)"),
    ("nvidia-l4-x4", "is not trusted: MixedProducts"),
]


def mixed(*, backwards: bool = False) -> Files:
    """A Store over the cluster; the order in which its nodes were seen must not matter."""
    store = Files(*(reversed(NODES) if backwards else NODES))
    store.pools.append(H200_AT_ZERO)
    return store
