"""One random InferenceDeployment per seed and number: the same for the same two, whatever else is drawn.

Called by `questions`. Draws what people write: models of the catalogue, layouts, dtypes, caches, lengths, adapters, drafts and further
arguments of the release. Refuses to know what is right: a wish may be nonsense, which is half of the point.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from plimsoll_estimator import EngineVersion, catalogue
from plimsoll_estimator.argument_table import ArgumentRow, flags_of, values_of
from plimsoll_operator.names import API_VERSION

PRODUCTS = (
    "NVIDIA-H100-80GB-HBM3",
    "NVIDIA-H200",
    "NVIDIA-B200",
    "NVIDIA-A100-SXM4-80GB",
    "NVIDIA-A100-SXM4-40GB",
    "NVIDIA-L4",
    "NVIDIA-L40S",
    "NVIDIA-A10G",
    "NVIDIA-GeForce-RTX-3090",
    "NVIDIA-GeForce-RTX-4090",
    "NVIDIA-GeForce-RTX-5090",
    "NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition",
    "NVIDIA-H20",
    "Tesla-T4",
    "Tesla-V100-SXM2-32GB",
)
PRODUCTS_A_SEED = 4
"""Every card is a process of the engine's: a seed has some of them."""
QUANTIZATION = (
    "fp8",
    "awq",
    "awq_marlin",
    "auto_awq",
    "gptq",
    "gptq_marlin",
    "auto_gptq",
    "marlin",
    "compressed-tensors",
    "modelopt",
    "modelopt_fp4",
    "bitsandbytes",
    "experts_int8",
    "mxfp4",
    "fbgemm_fp8",
    "moe_wna16",
    "torchao",
    "inc",
    "auto-round",
    "ptpc_fp8",
    "quark",
    "int8_per_channel_weight_only",
    "gpt_oss_mxfp4",
    "fp8_per_tensor",
    "fp8_per_block",
    "mxfp8",
    "online",
    "none-such",
)
DRAFTS = ("Qwen/Qwen3-0.6B", "Qwen/Qwen2.5-0.5B", "HuggingFaceTB/SmolLM2-135M-Instruct", "TinyLlama/TinyLlama-1.1B-Chat-v1.0")
METHODS = ("ngram", "mtp", "draft_model", "eagle", "eagle3", "medusa", "deepseek_mtp", "qwen3_next_mtp", "suffix", "ngram_gpu")
BACKENDS = (
    "FLASH_ATTN", "FLASHINFER", "TRITON_ATTN", "FLEX_ATTENTION", "flash_attn", "TREE_ATTN", "FLASHMLA", "TRITON_MLA", "CUTLASS_MLA",
    "FLASH_ATTN_MLA", "FLASHINFER_MLA", "FLASHMLA_SPARSE", "TORCH_SDPA", "XFORMERS", "TRITON_ATTN_VLLM_V1", "B12X", "NOSUCH", "auto",
    "None",
)  # fmt: skip
ATTENTION: tuple[Callable[[str], dict[str, Any]], ...] = (
    lambda name: {"backend": name},
    lambda name: {"backend": name, "flash_attn_version": 3},
    lambda _: {"backend": None},
    lambda _: {"flash_attn_version": 4},
    lambda _: {"use_trtllm_attention": True},
    lambda _: {"no_such_key": 1},
    lambda _: {"backend": 7},
)
"""Values of --attention-config around the name of a backend."""
WORDS = ("auto", "none", "1", "true", "/data/file", "a.b", "info", "x")
NEEDLESS = frozenset(
    {
        "--config", "--model", "--port", "--grpc", "--uds", "--headless", "--chat-template", "--log-config-file", "--tool-parser-plugin",
        "--reasoning-parser-plugin", "--middleware", "--ssl-keyfile", "--ssl-certfile", "--ssl-ca-certs", "--generation-config",
        "--tokenizer", "--tokenizer-mode", "--data-parallel-address", "--hf-token", "--logging-config", "--revision",
        "--show-hidden-metrics-for-version", "--grpc-port",
    }
)  # fmt: skip
"""Flags that read a file or a module which no wish can bring, or that do not end in a server of the usual kind."""


@dataclass(frozen=True)
class Wish:
    """A deployment as a manifest, the product of the one pool that it meets, and the number that it was drawn by."""

    number: int
    product: str
    manifest: dict[str, Any]


def draw(seed: int, number: int, release: str) -> Wish:
    """The wish of this number. Every release has others under the same number: its flags are its own."""
    rng = random.Random(f"{seed}/{number}/{release}")
    version = EngineVersion.parse(release)
    product = rng.choice(random.Random(f"{seed}/products").sample(PRODUCTS, PRODUCTS_A_SEED))
    engine: dict[str, Any] = {"image": f"vllm/vllm-openai:v{release}", **_layout(rng), **_sizes(rng), **_storage(rng)}
    if rng.random() < 0.1:
        engine["lora"] = {"maxLoras": rng.choice((1, 2, 8)), "maxLoraRank": rng.choice((1, 8, 16, 64, 256))}
    if rng.random() < 0.12:
        engine["speculative"] = _speculative(rng)
    extra = _extra(rng, version) + _said_twice(random.Random(f"{seed}/{number}/{release}/twice"), version)
    if extra:
        engine["extraArgs"] = extra
    spec: dict[str, Any] = {"model": {"name": rng.choice(catalogue.names())}, "engine": engine, "fit": {"minMaxModelLen": 1}}
    return Wish(number=number, product=product, manifest=whole(spec))


def whole(spec: dict[str, Any]) -> dict[str, Any]:
    """The manifest around a spec."""
    return {"apiVersion": API_VERSION, "kind": "InferenceDeployment", "metadata": {"name": "x", "namespace": "default"}, "spec": spec}


def _some(rng: random.Random, share: float, **fields: tuple[Any, ...]) -> dict[str, Any]:
    """Each field with this probability, one of its values."""
    return {name: rng.choice(values) for name, values in fields.items() if rng.random() < share}


def _layout(rng: random.Random) -> dict[str, Any]:
    return {
        **_some(rng, 0.4, tensorParallelSize=(1, 1, 2, 2, 4, 4, 8, 8, 3, 6)),
        **_some(rng, 0.1, pipelineParallelSize=(1, 2, 2, 4, 3), expertParallel=(True, True, False)),
        **_some(rng, 0.05, dataParallelSize=(2, 4), decodeContextParallelSize=(1, 2, 4)),
    }


def _sizes(rng: random.Random) -> dict[str, Any]:
    return {
        **_some(rng, 0.5, maxModelLen=(100, 512, 2048, 4096, 8192, 10000, 16384, 32768, 40960, 65536, 131072, 262144, 1048576)),
        **_some(rng, 0.3, maxNumSeqs=(1, 7, 8, 16, 64, 100, 128, 256, 300, 512, 1024, 2048)),
        **_some(rng, 0.25, maxNumBatchedTokens=(64, 512, 1000, 1024, 2048, 4096, 8192, 16384, 32768, 131072)),
        **_some(rng, 0.3, gpuMemoryUtilization=(0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.98)),
        **_some(rng, 0.15, blockSize=(1, 8, 16, 16, 32, 64, 128, 256)),
    }


def _storage(rng: random.Random) -> dict[str, Any]:
    return {
        **_some(rng, 0.25, dtype=("auto", "half", "float16", "bfloat16", "float", "float32")),
        **_some(rng, 0.2, quantization=QUANTIZATION),
        **_some(rng, 0.25, kvCacheDtype=("auto", "bfloat16", "float16", "fp8", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_ds_mla", "fp8_inc")),
        **_some(rng, 0.15, enforceEager=(True, False), enablePrefixCaching=(True, False), enableChunkedPrefill=(True, False)),
    }


def _speculative(rng: random.Random) -> dict[str, Any]:
    method = rng.choice(METHODS)
    found: dict[str, Any] = {"method": method, "numSpeculativeTokens": rng.choice((1, 2, 3, 4, 5, 8))}
    if method in ("draft_model", "eagle", "eagle3", "medusa"):
        found["model"] = rng.choice(DRAFTS)
    return found


def _extra(rng: random.Random, version: EngineVersion) -> list[str]:
    rows = sorted({row.flag: row for row in flags_of(version).values()}.items())
    usual = [row for flag, row in rows if flag not in NEEDLESS and _usual(row)]
    found: list[str] = []
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
        if rng.random() < 0.05:
            found += [rng.choice(("--no-such-flag", "--max-model-length=1", "--num-scheduler-steps=4", "--task=embed", "--runner=pooling"))]
        else:
            found += _given(rng, rng.choice(usual), version)
    return found


def _said_twice(rng: random.Random, version: EngineVersion) -> list[str]:
    """What may be said in several places: drawn apart, so that a number keeps the rest of its wish."""
    flags = {row.flag for row in flags_of(version).values()}
    return _backends(rng, flags) + _sizes_twice(rng, flags)


def _backends(rng: random.Random, flags: set[str]) -> list[str]:
    """An attention backend in one of the places where it may be named, at times in two."""
    found: list[str] = []
    if "--attention-backend" in flags and rng.random() < 0.15:
        found.append(f"--attention-backend={rng.choice(BACKENDS)}")
    if "--attention-config" in flags and rng.random() < 0.1:
        found.append(f"--attention-config={json.dumps(rng.choice(ATTENTION)(rng.choice(BACKENDS)))}")
    if "--mm-encoder-attn-backend" in flags and rng.random() < 0.05:
        found.append(f"--mm-encoder-attn-backend={rng.choice(BACKENDS)}")
    return found


def _sizes_twice(rng: random.Random, flags: set[str]) -> list[str]:
    """Sizes of graphs in up to three of the places that say them."""
    if "--cudagraph-capture-sizes" not in flags or rng.random() > 0.1:
        return []
    sizes, largest = [1, 2, rng.choice((4, 8))], rng.choice((4, 8))
    said = (
        ["--cudagraph-capture-sizes", *map(str, sizes)],
        [f"--max-cudagraph-capture-size={largest}"],
        [f"--compilation-config={json.dumps(rng.choice(({'cudagraph_capture_sizes': sizes}, {'max_cudagraph_capture_size': largest})))}"],
    )
    return [token for tokens in rng.sample(said, rng.choice((1, 2, 2, 3))) for token in tokens]


def _usual(row: ArgumentRow) -> bool:
    """What a user may add: rules or none are needed for it; the rest Plimsoll refuses for reasons of its own."""
    return not row.moves_memory or bool(row.harmless_values) or (row.engine_field is not None and row.engine_field not in _OWNED)


_OWNED = frozenset(
    {
        "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "enable_expert_parallel", "decode_context_parallel_size",
        "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "dtype", "kv_cache_dtype", "quantization",
        "nnodes", "speculative_method", "num_speculative_tokens",
    }
)  # fmt: skip


def _given(rng: random.Random, row: ArgumentRow, version: EngineVersion) -> list[str]:
    """The flag with a value of its kind."""
    if row.kind == "flag":
        return [row.flag]
    if row.kind == "bool":
        return [row.flag if rng.random() < 0.7 else "--no-" + row.flag.removeprefix("--")]
    return [f"{row.flag}={_value(rng, row, version)}"]


def _value(rng: random.Random, row: ArgumentRow, version: EngineVersion) -> str:
    listed = values_of(row.flag, version)
    if listed is not None and rng.random() < 0.9:
        return rng.choice(listed)
    if row.harmless_values:
        return rng.choice(row.harmless_values)
    if row.kind == "bool_value":
        return rng.choice(("true", "false"))
    if row.flag == "--limit-mm-per-prompt":
        limits = {"image": rng.choice((0, 1, 2, 4)), **({"video": rng.choice((0, 1))} if rng.random() < 0.5 else {})}
        return ",".join(f"{key}={value}" for key, value in limits.items()) if row.kind == "pairs" else json.dumps(limits)
    if row.kind in ("int", "human_int", "int_list", "human_int_or_auto"):
        return str(rng.choice((0, 1, 2, 4, 16, 64, 1024, 8192)))
    if row.kind in ("float", "float_list"):
        return str(rng.choice((0, 0.5, 1, 4)))
    if row.kind in ("json", "config", "json_or_str", "json_or_pairs"):
        return "{}"
    if row.kind == "modules":
        return "name=/data/adapter"
    return rng.choice(WORDS)
