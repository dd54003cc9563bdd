"""The vLLM arguments that move memory or stop a start, as the user gave them: None means vLLM's default of that version.

Parsed from the batch contract, the API and `extraArgs`; resolved by `resolve`. Knows names and types, no defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from plimsoll_estimator.errors import InvalidInput
from plimsoll_estimator.hf_config import HfConfig

_EAGLE: Final = frozenset({"eagle", "eagle3"})
_OF_MODULES: Final = "mtp"
_MOST_SIZES: Final = 1 << 12


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineArgs:
    """vLLM's own names in snake case. Sizes are counts or bytes as vLLM takes them; cpu_offload_gb and swap_space are GiB."""

    dtype: str | None = None
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    data_parallel_size: int | None = None
    enable_expert_parallel: bool | None = None
    decode_context_parallel_size: int | None = None
    nnodes: int | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    block_size: int | None = None
    enforce_eager: bool | None = None
    enable_prefix_caching: bool | None = None
    enable_chunked_prefill: bool | None = None
    num_speculative_tokens: int | None = None
    kv_cache_memory_bytes: int | None = None
    limit_mm_per_prompt: Mapping[str, Any] | None = None
    swap_space: float | None = None
    runner: str | None = None
    max_cudagraph_capture_size: int | None = None
    cpu_offload_gb: float | None = None
    enable_lora: bool | None = None
    max_loras: int | None = None
    max_lora_rank: int | None = None
    mamba_cache_dtype: str | None = None
    mamba_ssm_cache_dtype: str | None = None
    speculative_method: str | None = None
    allow_deprecated_quantization: bool | None = None
    trust_remote_code: bool | None = None
    """None: nobody has told; then no model is refused for want of it."""
    disable_hybrid_kv_cache_manager: bool | None = None
    kv_events_config: Mapping[str, Any] | None = None
    kv_transfer_config: Mapping[str, Any] | None = None
    """What it does to the planner, what its connector holds (`connectors`), and its role."""
    hf_overrides: Mapping[str, Any] | None = None
    """Keys laid over the model's config.json before anything of it is read."""
    eplb_config: Mapping[str, Any] | None = None
    enable_eplb: bool | None = None
    num_redundant_experts: int | None = None
    """What releases up to 0.10.2 take beside --eplb-config."""
    async_scheduling: bool | None = None
    api_server_count: int | None = None
    max_cpu_loras: int | None = None
    enable_sleep_mode: bool | None = None
    mm_processor_cache_gb: float | None = None
    skip_mm_profiling: bool | None = None
    mm_encoder_tp_mode: str | None = None
    speculative_model_config: HfConfig | None = None
    # No arguments, but what else of the process moves memory: what its image holds, what its environment says (VLLM_USE_FLASHINFER_SAMPLER,
    # VLLM_USE_DEEP_GEMM, VLLM_DEEP_GEMM_WARMUP), and what it finds.
    official_image: bool | None = None
    """The engine runs in vLLM's own image (docker.io/vllm/vllm-openai), not in another, nor as pip installs it."""
    flashinfer_installed: bool | None = None
    use_flashinfer_sampler: bool | None = None
    deep_gemm_installed: bool | None = None
    use_deep_gemm: bool | None = None
    deep_gemm_warmup: str | None = None
    """`full` or `relax`, which take the same memory, or `skip` (up to 0.11.0 VLLM_SKIP_DEEP_GEMM_WARMUP=1)."""
    compile_cache: str | None = None
    """`cold`: the start finds no compiled graphs in VLLM_CACHE_ROOT; `warm`: it finds them."""
    reads_files_whole: bool | None = None
    """The loader holds each file in memory while it reads it: `--load-format pt`, `--safetensors-load-strategy eager`."""
    loader_buffer_bytes: int | None = None
    """Most that a loader holds in the host memory of one rank at once, files in flight or a streamer's buffer."""
    weights_on_host: bool | None = None
    """A copy of each rank's weights lies in host memory: in sleep, or while layers are fetched as they are needed."""
    reserved_gpu_bytes: int | None = None
    """Of arguments without an exact rule: held on every GPU, and widening the interval by as much on both sides."""
    reserved_host_bytes: int | None = None
    """The same in the host memory of one rank."""
    unruled: bool | None = None
    """Arguments without any rule were let through: intervals double, and the pessimistic end is what counts."""
    limits_unshared_objects: bool | None = None
    """`--mm-shm-cache-max-object-size-mb` is not its default, and `--mm-processor-cache-type` is not `shm`."""
    renders_beside_cache: bool | None = None
    """`--renderer-num-workers` is above 1, and `--mm-processor-cache-gb` is not 0."""
    parses_mistral_reasoning: bool | None = None
    """`--reasoning-parser` is `mistral`, and no tokenizer but the model's own is named."""
    reads_mistral_config: bool | None = None
    """`--config-format` is `mistral`: params.json is read in place of config.json."""
    convert: str | None = None
    """`--convert`, where it names another head: embed, classify, reward."""
    performance_mode: str | None = None
    """`--performance-mode`, where it names one."""
    attention_backend: str | None = None
    """The backend that is named, in capitals, where the release is not left to choose: `--attention-backend`, `--attention-config`."""
    flash_attn_version: int | None = None
    """FlashAttention's own version, where --attention-config names one."""
    images_backend: str | None = None
    """`--mm-encoder-attn-backend` as it is written, where it names one."""
    processes_logprobs: bool | None = None
    """`--logprobs-mode` asks for what sampling leaves of the logits: FlashInfer's sampler does not hand it out."""
    long_prefill_token_threshold: int | None = None
    cudagraph_capture_sizes: tuple[int, ...] | None = None
    """Batch sizes that are to be captured, where they are said one by one: of these the ones within max_num_batched_tokens are."""
    cudagraph_mode: str | None = None
    """`none` or `piecewise`, where --compilation-config or -O asks for fewer CUDA graphs than the release captures by itself."""

    @property
    def hashable(self) -> bool:
        """Whether answers may be remembered by these arguments: none of them is a mapping."""
        mappings = (self.limit_mm_per_prompt, self.kv_events_config, self.kv_transfer_config, self.hf_overrides, self.eplb_config)
        return all(one is None for one in mappings)

    @property
    def drafts_by(self) -> str:
        """The method of speculative decoding where tokens are drafted: as given, else by the draft where one is, else by modules."""
        return self.speculative_method or ("draft_model" if self.speculative_model_config is not None else _OF_MODULES)

    @property
    def redundant_experts(self) -> int:
        """Copies of experts that are asked for: by the flag that older releases have, which wins, or by --eplb-config."""
        if self.num_redundant_experts is not None:
            return self.num_redundant_experts
        asked = (self.eplb_config or {}).get("num_redundant_experts", 0)
        return asked if isinstance(asked, int) else 0

    @property
    def drafts_by_modules(self) -> bool:
        """Whether that is a model's own prediction modules: `mtp`, or of older releases such as `deepseek_mtp`."""
        method = self.drafts_by
        return method == _OF_MODULES or method.endswith(f"_{_OF_MODULES}")

    @property
    def drafts_by_model(self) -> bool:
        """Whether that is a checkpoint of its own, which has a cache of its own."""
        return self.drafts_by == "draft_model" or self.drafts_by_eagle

    @property
    def drafts_by_eagle(self) -> bool:
        """Whether that is a head of EAGLE's, which reads the target's hidden states."""
        return self.drafts_by in _EAGLE

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> EngineArgs:
        """Parse a mapping; an unknown key or wrong type is InvalidInput naming `engine_args.<key>`."""
        if not isinstance(data, Mapping):
            raise InvalidInput("engine_args", data, "must be an object")
        known = {f.name: str(f.type) for f in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in data.items():
            if key not in known:
                raise InvalidInput(f"engine_args.{key}", value, "is not an argument the estimator knows")
            if value is not None:
                values[key] = _typed(f"engine_args.{key}", value, known[key])
        if values.get("compile_cache", "cold") not in ("cold", "warm"):
            raise InvalidInput("engine_args.compile_cache", values["compile_cache"], "must be cold or warm")
        if values.get("deep_gemm_warmup", "full") not in ("full", "relax", "skip"):
            raise InvalidInput("engine_args.deep_gemm_warmup", values["deep_gemm_warmup"], "must be full, relax or skip")
        if values.get("cudagraph_mode", "none") not in ("none", "piecewise"):
            raise InvalidInput("engine_args.cudagraph_mode", values["cudagraph_mode"], "must be none or piecewise")
        return cls(**values)


def _typed(name: str, value: Any, kind: str) -> Any:
    if kind.startswith("bool"):
        if not isinstance(value, bool):
            raise InvalidInput(name, value, "must be true or false")
        return value
    if kind.startswith(("int", "float")):
        return _number(name, value, whole=kind.startswith("int"))
    if kind.startswith("str"):
        if not isinstance(value, str) or len(value) > 200:
            raise InvalidInput(name, value, "must be a string of at most 200 characters")
        return value
    if kind.startswith("tuple"):
        if not isinstance(value, list | tuple) or not 0 < len(value) <= _MOST_SIZES:
            raise InvalidInput(name, value, f"must be a list of 1 to {_MOST_SIZES} whole numbers")
        return tuple(_number(name, one, whole=True) for one in value)
    if not isinstance(value, Mapping):
        raise InvalidInput(name, value, "must be an object")
    return HfConfig(value, name) if kind.startswith("HfConfig") else value


def _number(name: str, value: Any, *, whole: bool) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(name, value, "must be a number")
    if not -1 <= value < 1 << 50:
        raise InvalidInput(name, value, "is out of range")
    if not whole:
        return float(value)
    if value != int(value):
        raise InvalidInput(name, value, "must be a whole number")
    return int(value)
