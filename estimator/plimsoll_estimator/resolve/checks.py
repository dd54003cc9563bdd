"""vLLM's argument checks that need no memory figures: parallel sizes, batch sizes, pipeline and expert support.

Called by `resolve`. Each raises EngineRefusal with vLLM's reason; shapes of single layers are checked by `weights`.
"""

from __future__ import annotations

import re
from typing import Final

from plimsoll_estimator.argument_table import flag_of
from plimsoll_estimator.attention_backends import check_images_name, flashinfer_floor
from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput
from plimsoll_estimator.resolve.facts import supports_pipeline_parallel, supports_tensor_parallel
from plimsoll_estimator.resolve.releases import NODES_SINCE, argument_rules, spans_nodes
from plimsoll_estimator.resolved import Gpu
from plimsoll_estimator.shape import Shape
from plimsoll_estimator.units import dotted

MOST_RANKS: Final = 2048  # as many as the layers that a config may have; every stage is worked out


_PUBLISHED_BY_MISTRAL: Final = re.compile("istral|Mixtral|Pixtral|Voxtral|Mamba2")
"""Classes of checkpoints that may have Mistral's own files beside them: the tokenizer (tokenizers/registry.py: resolve_tokenizer_args),
and params.json in place of config.json (transformers_utils/config.py: load_params_config, later MistralConfigParser)."""


def may_be_mistrals(architecture: str) -> bool:
    """Whether checkpoints of this class may be as Mistral publishes them."""
    return _PUBLISHED_BY_MISTRAL.search(architecture) is not None


def positive(name: str, value: int | None, default: int, most: int = 1 << 30) -> int:
    """A size argument: absent means `default`, below 1 or above `most` is InvalidInput."""
    if value is None:
        return default
    if not 1 <= value <= most:
        raise InvalidInput(f"engine_args.{name}", value, f"must be from 1 to {most}")
    return value


def check_parallel(shape: Shape, tp: int, pp: int, dcp: int, ep: bool, version: EngineVersion) -> None:
    """vLLM config/model.py:verify_with_parallel_config and config/parallel.py. Raises EngineRefusal."""
    _check_heads_counted(shape, version)
    heads, kv, architecture = shape.size.heads, shape.size.kv_heads, shape.architecture
    if heads % tp:
        raise EngineRefusal(
            Check.HEADS_NOT_DIVISIBLE, f"total number of attention heads ({heads}) must be divisible by tensor parallel size ({tp})"
        )
    if kv and not shape.latent and kv % tp and tp % kv:
        raise EngineRefusal(Check.KV_HEADS_NOT_DIVISIBLE, f"{kv} key-value heads and tensor parallel size {tp}: neither divides the other")
    if ep and not shape.named_experts:
        raise EngineRefusal(
            Check.NO_EXPERTS, "the number of experts in the model must be greater than 0 when expert parallelism is enabled"
        )
    if pp > 1 and not supports_pipeline_parallel(architecture, version):
        raise EngineRefusal(
            Check.PIPELINE_PARALLEL_UNSUPPORTED, f"pipeline parallelism is not supported for {architecture} in vLLM {version}"
        )
    if tp > 1 and not supports_tensor_parallel(architecture, version):
        raise EngineRefusal(Check.TENSOR_PARALLEL_UNSUPPORTED, f"{architecture} does not support tensor parallelism in vLLM {version}")
    if dcp > 1:
        _check_dcp(shape, tp, dcp, version)


def _check_heads_counted(shape: Shape, version: EngineVersion) -> None:
    """vLLM transformers_utils/model_arch_config_convertor.py: get_total_num_kv_heads. Raises EngineRefusal."""
    if shape.attention_free and shape.size.model_type == "mamba2" and not argument_rules(version).reads_mamba2:
        words = f"vLLM {version} looks for attention heads in a config of type mamba2, which has none; vLLM 0.13.0 and 0.18.0 do not"
        raise EngineRefusal(Check.UNSUPPORTED_MODEL_VERSION, words)


def check_balancing(args: EngineArgs, tp: int, dp: int, version: EngineVersion) -> None:
    """vLLM config/parallel.py: _validate_parallel_config (config.py: __post_init__ until 0.10.0). Raises EngineRefusal."""
    if not args.enable_eplb:
        if args.redundant_experts:
            words = f"num_redundant_experts is {args.redundant_experts}, which vLLM {version} takes with enable_eplb only"
            raise EngineRefusal(Check.EXPERTS_NOT_SPREAD, words)
        return
    if not args.enable_expert_parallel:
        raise EngineRefusal(Check.EXPERTS_NOT_SPREAD, f"enable_expert_parallel must be true to use enable_eplb in vLLM {version}")
    if tp * dp == 1:
        words = f"enable_eplb requires tensor or data parallelism in vLLM {version}, and there is 1 rank"
        raise EngineRefusal(Check.EXPERTS_NOT_SPREAD, words)


def check_nodes(tp: int, pp: int, dp: int, nodes: int, version: EngineVersion) -> None:
    """vLLM engine/arg_utils.py:create_engine_config with --nnodes; one node needs no check. Raises EngineRefusal.

    Before that option, nodes may each have whole engines of data parallelism (--data-parallel-size-local).
    """
    if nodes == 1:
        return
    if not spans_nodes(version, dp // nodes if dp % nodes == 0 else 0):
        whole = ", but for whole engines of data parallelism on each" if argument_rules(version).engines_on_nodes else ""
        raise EngineRefusal(
            Check.NODES_UNSUPPORTED,
            f"vLLM {version} spans nodes only on a Ray cluster made beforehand{whole}; releases from {NODES_SINCE} need none",
        )
    if tp * pp * dp % nodes:
        raise EngineRefusal(Check.NODES_NOT_DIVISIBLE, f"{tp * pp * dp} ranks must be divisible by the number of nodes ({nodes})")
    if dp % nodes and nodes % dp:
        raise EngineRefusal(
            Check.NODES_NOT_DIVISIBLE,
            f"data parallel size {dp} and {nodes} nodes: neither divides the other, so engines would be cut unevenly",
        )


def _check_mistrals_files(shape: Shape, args: EngineArgs, version: EngineVersion) -> None:
    """vLLM transformers_utils/config.py: load_params_config (since 0.10.2 MistralConfigParser), and config/reasoning.py."""
    if may_be_mistrals(shape.architecture):
        return
    if args.reads_mistral_config:
        words = f"vLLM {version} reads params.json with config_format mistral, which a checkpoint of {shape.architecture} does not have"
        raise EngineRefusal(Check.NO_MISTRAL_CONFIG, words)
    if args.parses_mistral_reasoning and argument_rules(version).makes_mistral_parser:
        words = f"vLLM {version} makes the reasoning parser mistral with Mistral's tokenizer, which {shape.architecture} does not have"
        raise EngineRefusal(Check.TOKENIZER_NOT_MISTRALS, words)


def check_inputs(shape: Shape, args: EngineArgs, runner: str, version: EngineVersion) -> None:
    """What images and videos bring: their limits and their processor's cache; and what only Mistral publishes. Raises EngineRefusal.

    vLLM config.py:_init_multimodal_config (until 0.10.0 limits are for models that take some), config/multimodal.py:
    _validate_multimodal_config, and config/model.py:__post_init__. A text model has no such configuration to be refused.
    """
    _check_mistrals_files(shape, args, version)
    rules = argument_rules(version)
    if not shape.multimodal:
        if args.limit_mm_per_prompt and rules.limits_need_a_modality:
            words = f"limit_mm_per_prompt is only supported for multimodal models in vLLM {version}"
            raise EngineRefusal(Check.LIMITS_WITHOUT_MODALITY, words)
        return
    if args.images_backend is not None:  # config/multimodal.py: a text model has no such configuration
        check_images_name("--mm-encoder-attn-backend", args.images_backend, version)
    if args.limits_unshared_objects:
        words = "--mm-shm-cache-max-object-size-mb should only be set when --mm-processor-cache-type is shm"
        raise EngineRefusal(Check.PROCESSOR_CACHE_NOT_SHARED, words)
    if args.renders_beside_cache and (runner == "pooling" or not rules.renders_beside_cache):
        words = f"vLLM {version} takes --renderer-num-workers above 1 only with --mm-processor-cache-gb=0"
        raise EngineRefusal(Check.RENDERERS_SHARE_CACHE, words + (" where it pools" if rules.renders_beside_cache else ""))


_MULTIPROCESSORS_COUNT: Final = EngineVersion(0, 31)
_SMALLEST_SLICE: Final = re.compile(r"-MIG-1[cg]\.")
"""Before Blackwell a slice of one seventh, of an A30 one fourth, has 14 or 16 multiprocessors (NVIDIA's MIG user guide)."""


def flashinfer_samples(gpu: Gpu, version: EngineVersion) -> bool:
    """Whether a release samples with FlashInfer on such a GPU; since 0.31 it wants more than 16 multiprocessors."""
    few = version >= _MULTIPROCESSORS_COUNT and _SMALLEST_SLICE.search(gpu.product) is not None and gpu.capability < 100
    return gpu.capability >= flashinfer_floor(version) and not few


def check_sampler(args: EngineArgs, gpu: Gpu, runner: str, second_runner: bool, version: EngineVersion) -> None:
    """vLLM v1/sample/ops/topk_topp_sampler.py: its RuntimeError where the variable is set and the GPU is too old. Raises EngineRefusal.

    The first runner makes a sampler for a pooling model as well (v1/worker/gpu_model_runner.py), the second does not.
    """
    stops = argument_rules(version).sampler_stops
    makes_it = stops == "both" and runner != "pooling" if second_runner else stops != "none"
    if args.use_flashinfer_sampler and makes_it and not args.processes_logprobs and not flashinfer_samples(gpu, version):
        slim = gpu.capability >= flashinfer_floor(version)
        on = "a slice of 16 multiprocessors or fewer" if slim else f"a GPU of compute capability {dotted(gpu.capability)}"
        words = (
            f"vLLM {version} stops where VLLM_USE_FLASHINFER_SAMPLER is 1 on {on}:"
            " leave the variable out, and vLLM samples without FlashInfer"
        )
        raise EngineRefusal(Check.FLASHINFER_SAMPLER_UNSUPPORTED, words)


def check_long_prefill(args: EngineArgs, max_len: int, version: EngineVersion) -> None:
    """vLLM config/scheduler.py:verify_max_model_len, since 0.27.0 whatever the number of partial prefills. Raises EngineRefusal."""
    threshold = args.long_prefill_token_threshold
    if threshold is not None and threshold > max_len and argument_rules(version).bounds_long_prefill:
        words = f"long_prefill_token_threshold ({threshold}) cannot be greater than max_model_len ({max_len})"
        raise EngineRefusal(Check.LONG_PREFILL_ABOVE_CONTEXT, words)


def _check_dcp(shape: Shape, tp: int, dcp: int, version: EngineVersion) -> None:
    heads, kv = shape.size.heads, shape.size.kv_heads
    if flag_of("decode_context_parallel_size", version) is None:
        raise EngineRefusal(Check.DECODE_CONTEXT_PARALLEL_UNSUPPORTED, f"vLLM {version} has no decode context parallelism")
    if tp % dcp:
        raise EngineRefusal(
            Check.DECODE_CONTEXT_PARALLEL_NOT_DIVISIBLE,
            f"tensor parallel size {tp} must be divisible by decode context parallel size {dcp}",
        )
    if shape.latent or not kv:
        return
    if not argument_rules(version).shards_grouped_queries:
        # v1/worker/gpu_model_runner.py of 0.10.2: the attention layer must return its softmax sums, which only MLA's did.
        raise EngineRefusal(
            Check.DECODE_CONTEXT_PARALLEL_NEEDS_LATENT_ATTENTION, f"vLLM {version} shards the KV cache of latent attention only"
        )
    if tp <= kv:
        raise EngineRefusal(
            Check.DECODE_CONTEXT_PARALLEL_NEEDS_TENSOR_PARALLEL,
            f"decode context parallelism needs tensor parallel size ({tp}) greater than the number of key-value heads ({kv})",
        )
    if dcp > tp // kv:
        raise EngineRefusal(
            Check.DECODE_CONTEXT_PARALLEL_TOO_LARGE,
            f"decode context parallel size {dcp} exceeds the maximum {tp // kv} for tensor parallel size {tp} and {kv} key-value heads",
        )
    if (heads // kv) % dcp:
        raise EngineRefusal(
            Check.DECODE_CONTEXT_PARALLEL_NOT_DIVISIBLE,
            f"query heads per key-value head ({heads // kv}) must be divisible by decode context parallel size {dcp}",
        )


def check_batch(max_num_seqs: int, max_num_batched_tokens: int, max_len: int, chunked_prefill: bool) -> None:
    """vLLM config/scheduler.py: tokens cover the sequences, and a whole prompt when prefill is not chunked."""
    if max_num_batched_tokens < max_num_seqs:
        raise EngineRefusal(
            Check.TOKENS_BELOW_SEQS,
            f"max_num_batched_tokens ({max_num_batched_tokens}) must be greater than or equal to max_num_seqs ({max_num_seqs})",
        )
    if not chunked_prefill and max_num_batched_tokens < max_len:
        raise EngineRefusal(
            Check.TOKENS_BELOW_CONTEXT,
            f"max_num_batched_tokens ({max_num_batched_tokens}) is smaller than max_model_len ({max_len}) and chunked prefill is off",
        )


def check_drafted_batch(args: EngineArgs, max_num_seqs: int, max_num_batched_tokens: int, version: EngineVersion) -> None:
    """vLLM engine/arg_utils.py: beside adapters a step must hold every sequence with its drafted tokens."""
    drafted = args.num_speculative_tokens or 0
    if (
        args.enable_lora
        and drafted
        and argument_rules(version).holds_drafts_beside_adapters
        and max_num_batched_tokens < max_num_seqs * (drafted + 1)
    ):
        raise EngineRefusal(
            Check.TOKENS_BELOW_SEQS,
            f"max_num_batched_tokens ({max_num_batched_tokens}) must hold max_num_seqs ({max_num_seqs}) with {drafted} drafted tokens each"
            " where adapters are served",
        )
