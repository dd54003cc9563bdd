"""What vLLM's start-up holds beside weights and cache differently from release to release. Read by the modules of `overhead`.

Switches alone: figures that were fitted are rows of data/overheads.json, with `since` and `before`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.releases import Releases

_AWQ: Final = frozenset({"awq_marlin", "auto_awq"})
_MARLIN: Final = _AWQ | {"gptq_marlin", "auto_gptq"}
_COMPRESSED: Final = frozenset({"compressed-tensors"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OverheadRules:
    """Switches of one release. Defaults are those of the oldest known release (0.8)."""

    captures_adapters_apart: bool = False
    """Graphs are captured with and without active adapters (cudagraph_specialize_lora, on by default: config/compilation.py)."""
    lora_extra_rows: int = 256
    """Rows of vocabulary that each adapter may add (--lora-extra-vocab-size, deprecated in 0.11)."""
    lora_wraps_shared_head: bool = False
    """Classes that name embedding and head for adapters make one module of both (models/qwen3.py, until tie_weights came)."""
    caps_dummy_video: bool = False
    """The profile run's dummy video is no longer than a batch; before, towers with deepstack features saw 153600 tokens of it."""
    videos_fill_length: bool = False
    """A dummy video of Qwen2-VL's kind fills the length, not the batch (v1/worker/gpu_model_runner.py: _get_mm_dummy_batch)."""
    fused_norm_parts: tuple[int, int] = (4, 3)
    """Hidden and inner sizes of a patch while the MLP of Qwen2.5-VL's tower runs (models/qwen2_5_vl.py; `encoder._mlp_parts`)."""
    rounds_items_up: bool = True
    """The profile run encodes as many items as reach the encoder's budget, not as many as it holds (v1/worker/gpu_model_runner.py)."""
    masks_patches: Literal["without xformers", "always", "never"] = "without xformers"
    """Whether Pixtral's towers attend under a mask of all patches by all (models/pixtral.py)."""
    v2_profiles_encoder: bool = False
    """The V2 runner's profile run encodes images as well (v1/worker/gpu/model_runner.py: profile_run)."""
    deducts_graphs: bool = False
    """The budget of the cache is lowered by an estimate of the graphs (v1/worker/gpu_model_runner.py: profile_cudagraph_memory)."""
    captures_decodes_apart: bool = False
    """Beside the pieces for every size, whole graphs for decodes of at most max_num_seqs (cudagraph_mode FULL_AND_PIECEWISE)."""
    flashinfer_sampler: Literal["installed", "asked", "supported"] = "installed"
    """FlashInfer samples where it is installed; only for VLLM_USE_FLASHINFER_SAMPLER=1; or wherever it knows the card (envs.py)."""
    presumes_flashinfer: bool = True
    """Whether measured starts whose source is silent had FlashInfer: 0.10.1 did, 0.10.2 and 0.11.0 did not."""
    samples_with_triton: bool = False
    """Without FlashInfer a Triton kernel narrows the logits, no sort (v1/sample/ops/topk_topp_triton.py)."""
    direct_expert_calls: frozenset[str] = _MARLIN | _COMPRESSED
    """Methods whose 16-bit activations go to Marlin's experts by a plain call, without the modular kernel (fused_marlin_moe)."""
    deep_gemm: Literal["off", "asked", "on"] = "off"
    """Whether DeepGEMM's kernels are warmed up: never, for VLLM_USE_DEEP_GEMM=1, or unless it is 0 (envs.py, model_executor/warmup)."""
    deep_gemm_in_wheel: bool = False
    """The wheel brings DeepGEMM (utils/import_utils.py: has_deep_gemm); before, the image alone (docker/Dockerfile)."""
    deep_gemm_families: frozenset[int] = frozenset()
    """Major compute capabilities that it knows whole, beside 9.0 and 10.0 (utils/deep_gemm.py, platforms/cuda.py: support_deep_gemm)."""
    expert_chunk_tokens: int = 32768
    """The most tokens that experts multiply at a time, warmed up with as many (VLLM_FUSED_MOE_CHUNK_SIZE); 0: all of a step."""
    deep_gemm_warms_whole_chunk: bool = True
    """Experts are warmed up with that many tokens even where no step has them."""
    deep_gemm_where_it_runs: bool = False
    """Experts are warmed up only where DeepGEMM multiplies them (warmup/deep_gemm_warmup.py)."""
    deep_gemm_in_workspace: bool = False
    """Experts are warmed up in the workspace of the profile run (v1/worker/workspace.py)."""
    multimodal_cache_gib: int = 8
    """How much a cache of processed images may hold, in each process that has one (VLLM_MM_INPUT_CACHE_GIB, --mm-processor-cache-gb)."""
    times_kernels: bool = False
    """Compiling times kernels that may run as one, on random arguments (config/compilation.py: benchmark_combo_kernel, PyTorch 2.9)."""
    keeps_timed_copies: bool = False
    """What was timed is still there in the forward pass: 0.29 on a 5060 Ti and 0.31 on an A100 held both, 0.25 and 0.27.1 did not."""
    presumes_cold: bool = False
    """Whether a start whose source is silent compiled."""
    budgets_all_buffers: bool = False
    """The budget counts what left the device since the first snapshot; before, buffers made beside the weights and before the profile
    run, which are neither weights nor its peak, were not counted (utils/mem_utils.py: memory_profiling, total_consumed)."""
    budgets_whole_device: bool = True
    """The budget pays for all that is in use on the device when the profile run is over, contexts and other processes too; from 0.9.1 on
    for what was taken since the first snapshot (v1/worker/gpu_worker.py: determine_available_memory)."""
    graphs_are_profiled_with: Literal["nothing", "a block for every size", "a block for every sequence"] = "nothing"
    """The cache in which graphs are captured on trial before its size is known: as many blocks as the largest captured batch, from 0.26
    no more than max_num_seqs (v1/worker/gpu_model_runner.py: _init_minimal_kv_cache_for_profiling)."""
    deep_gemm_warms_any_spelling: bool = False
    """Blocks that compressed-tensors spells are warmed up as well as fp8's own (kernels/linear/scaled_mm/deep_gemm.py)."""


_RELEASES: Final = Releases(
    OverheadRules(),
    (EngineVersion(0, 9, 1), {"budgets_whole_device": False}),
    (EngineVersion(0, 10), {"rounds_items_up": False}),
    (EngineVersion(0, 10, 1), {"deep_gemm": "asked", "multimodal_cache_gib": 4, "fused_norm_parts": (4, 4)}),
    (EngineVersion(0, 10, 2), {"presumes_flashinfer": False, "deep_gemm_warms_whole_chunk": False}),
    (EngineVersion(0, 11), {"captures_decodes_apart": True, "deep_gemm": "on", "videos_fill_length": True}),
    (EngineVersion(0, 11, 1), {"captures_adapters_apart": True, "flashinfer_sampler": "asked", "times_kernels": True}),
    (EngineVersion(0, 12), {"lora_extra_rows": 0, "expert_chunk_tokens": 16384, "masks_patches": "always"}),
    (EngineVersion(0, 13), {"caps_dummy_video": True, "deep_gemm_families": frozenset({10})}),
    (EngineVersion(0, 15), {"fused_norm_parts": (5, 3)}),
    (EngineVersion(0, 16), {"lora_wraps_shared_head": True}),
    (EngineVersion(0, 17), {"samples_with_triton": True}),
    (EngineVersion(0, 18), {"expert_chunk_tokens": 0, "graphs_are_profiled_with": "a block for every size"}),
    (
        EngineVersion(0, 20),
        {
            "deducts_graphs": True,
            "direct_expert_calls": _AWQ | _COMPRESSED,
            "deep_gemm_in_wheel": True,
            "deep_gemm_where_it_runs": True,
        },
    ),
    (EngineVersion(0, 21), {"flashinfer_sampler": "supported", "direct_expert_calls": _COMPRESSED}),
    (EngineVersion(0, 23), {"direct_expert_calls": frozenset()}),
    (EngineVersion(0, 24), {"deep_gemm_families": frozenset({10, 12})}),
    (EngineVersion(0, 26), {"graphs_are_profiled_with": "a block for every sequence"}),
    (EngineVersion(0, 27), {"v2_profiles_encoder": True, "budgets_all_buffers": True}),
    (EngineVersion(0, 28), {"lora_wraps_shared_head": False}),
    (EngineVersion(0, 29), {"masks_patches": "never", "keeps_timed_copies": True, "presumes_cold": True}),
    (EngineVersion(0, 30), {"deep_gemm_warms_any_spelling": True}),
    (EngineVersion(0, 31), {"deep_gemm_in_workspace": True}),
)


@lru_cache(maxsize=64)
def overhead_rules(version: EngineVersion) -> OverheadRules:
    """The switches of `version`."""
    return _RELEASES.of(version)
