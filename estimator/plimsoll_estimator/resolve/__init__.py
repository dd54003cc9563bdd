"""Resolve the user's arguments as vLLM of one release would for one model on one GPU type; raise what it would refuse.

Called by `estimate` and by the rendering of pods. Defaults follow vLLM engine/arg_utils.py and config/*.py of 0.19.1,
0.25.1 and 0.33.0 and the release table between them. Refuses to know bytes of weights or cache.
"""

from __future__ import annotations

from typing import Final, Literal

from plimsoll_estimator.arguments import check_values
from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs
from plimsoll_estimator.engine_version import NEWEST_KNOWN, OLDEST_KNOWN, EngineVersion
from plimsoll_estimator.errors import EngineRefusal, InvalidInput, Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import kept_with_config
from plimsoll_estimator.layers.planner_rules import rules_for
from plimsoll_estimator.models.register import architecture_of, find, read
from plimsoll_estimator.models.releases import check_registered, registered
from plimsoll_estimator.resolve.batching import batch_sizes, capture_size, graph_mode, in_flight_tokens
from plimsoll_estimator.resolve.cache_manager import groups_caches
from plimsoll_estimator.resolve.checks import (
    MOST_RANKS,
    check_balancing,
    check_batch,
    check_drafted_batch,
    check_inputs,
    check_long_prefill,
    check_nodes,
    check_parallel,
    check_sampler,
    positive,
)
from plimsoll_estimator.resolve.config_class import check_config_class
from plimsoll_estimator.resolve.dtypes import resolve_dtype
from plimsoll_estimator.resolve.engine_core import GONE as V0_GONE
from plimsoll_estimator.resolve.engine_core import Start, check_core
from plimsoll_estimator.resolve.extensions import check_lora, check_speculation
from plimsoll_estimator.resolve.facts import engine_defaults
from plimsoll_estimator.resolve.kernels import check_kernels
from plimsoll_estimator.resolve.length import max_model_len
from plimsoll_estimator.resolve.quantization import (
    check_kv_cache_dtype,
    check_packed_experts,
    declared_kv_cache_dtype,
    resolve_quantization,
    runs_eagerly,
    stored_by,
)
from plimsoll_estimator.resolve.releases import argument_rules
from plimsoll_estimator.resolve.sanity import check_config
from plimsoll_estimator.resolved import Gpu, ResolvedArgs
from plimsoll_estimator.shape import Shape

__all__ = ["resolve"]

_POOLING_SUFFIXES: Final = (
    "ForSequenceClassification", "ForTextEncoding", "EmbeddingModel", "ForTokenClassification", "ForImageClassification",
    "ForVideoClassification", "ClassificationModel", "ForRewardModeling", "RewardModel", "ForProcessRewardModel", "ForMaskedLM",
)  # fmt: skip
_V2_MIXTURES: Final = frozenset({"DeepseekV2ForCausalLM", "Qwen2MoeForCausalLM", "GraniteMoeForCausalLM"})


def resolve(config: HfConfig, args: EngineArgs, gpu: Gpu, version: EngineVersion) -> ResolvedArgs:
    """ResolvedArgs of `version`. Raises EngineRefusal (vLLM would stop), InvalidInput (bad value), Unsupported (no rule)."""
    _check_given(args, version)
    architecture = _class_of(config, version)
    check_kernels(gpu, version, of_image=args.official_image, certain=True)
    _check_config_classes(config, args, version)
    runner = _runner(config, architecture, args, version)
    tp, pp, dp, dcp, nodes = sizes = _sizes(args)
    dtype = resolve_dtype(config, args.dtype, gpu, runner, version)
    quantization = resolve_quantization(
        config, architecture, args.quantization, gpu, version, dtype, allow_deprecated=bool(args.allow_deprecated_quantization)
    )
    check_kv_cache_dtype(stored_by(config), args.kv_cache_dtype, quantization, dtype, version)
    length = max_model_len(config, args.max_model_len, version)
    shape = read(config, architecture)  # not before: a search asks for many lengths that the config alone refuses
    check_packed_experts(config, quantization, shape.experts is not None, version)
    check_inputs(shape, args, runner, version)
    _check_sizes(shape, args, sizes, version)
    _check_extensions(config, shape, args, version, tp, pp)
    v2 = _uses_v2_runner(shape, runner, args, quantization, version)
    check_sampler(args, gpu, runner, v2, version)
    chunked = args.enable_chunked_prefill is not False or (runner == "generate" and argument_rules(version).always_chunks)
    seqs, tokens = batch_sizes(config, architecture, args, gpu, version, length=length, chunked_prefill=chunked)
    _check_batch(args, seqs, tokens, length, chunked, version)
    _check_core(shape, args, gpu, dtype, quantization, runner, version)
    eager = bool(args.enforce_eager) or runs_eagerly(config, quantization, dp, version)
    asynchronous = _async_scheduling(args, runner, pp, v2, version)
    return ResolvedArgs(
        version=version,
        extrapolated=version.minor_key > NEWEST_KNOWN.minor_key,
        gpu=gpu,
        given=args,
        architecture=architecture,
        dtype=dtype,
        quantization=quantization,
        kv_cache_dtype=_kv_cache_dtype(config, architecture, args.kv_cache_dtype, gpu, version),
        tensor_parallel_size=tp,
        pipeline_parallel_size=pp,
        data_parallel_size=dp,
        enable_expert_parallel=bool(args.enable_expert_parallel),
        decode_context_parallel_size=dcp,
        max_model_len=length,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        gpu_memory_utilization=_utilisation(args.gpu_memory_utilization, version),
        block_size=args.block_size,
        enforce_eager=eager,
        enable_prefix_caching=_prefix_caching(shape, args, runner, chunked, version),
        enable_chunked_prefill=chunked,
        num_speculative_tokens=args.num_speculative_tokens or 0,
        runner=runner,
        uses_v2_model_runner=v2,
        async_scheduling=asynchronous,
        max_in_flight_tokens=in_flight_tokens(tokens, pp, asynchronous, v2, version),
        cudagraph_mode=(graphs := graph_mode(args, eager=eager, runner=runner)),
        max_cudagraph_capture_size=0 if graphs == "none" else capture_size(args, architecture, gpu, version, seqs=seqs, tokens=tokens),
        nnodes=nodes,
        hybrid_kv_cache_manager=groups_caches(shape, args, version),
        shares_experts=dp > 1 and shape.experts is not None,
    )


def _sizes(args: EngineArgs) -> tuple[int, int, int, int, int]:
    """Tensor, pipeline, data and decode context parallel sizes, and nodes."""
    return (
        positive("tensor_parallel_size", args.tensor_parallel_size, 1, MOST_RANKS),
        positive("pipeline_parallel_size", args.pipeline_parallel_size, 1, MOST_RANKS),
        positive("data_parallel_size", args.data_parallel_size, 1, MOST_RANKS),
        positive("decode_context_parallel_size", args.decode_context_parallel_size, 1, MOST_RANKS),
        positive("nnodes", args.nnodes, 1, MOST_RANKS),
    )


def _check_batch(args: EngineArgs, seqs: int, tokens: int, length: int, chunked: bool, version: EngineVersion) -> None:
    """Whether sequences, tokens, drafts and long prompts of a step go together."""
    check_batch(seqs, tokens, length, chunked)
    check_long_prefill(args, length, version)
    check_drafted_batch(args, seqs, tokens, version)


def _check_config_classes(config: HfConfig, args: EngineArgs, version: EngineVersion) -> None:
    """Whether the release reads the config, and the draft's."""
    check_config_class(config, args.trust_remote_code, version)
    if args.speculative_model_config is not None:
        check_config_class(args.speculative_model_config, args.trust_remote_code, version)


def _check_sizes(shape: Shape, args: EngineArgs, sizes: tuple[int, int, int, int, int], version: EngineVersion) -> None:
    """What the release refuses of `_sizes`."""
    tp, pp, dp, dcp, nodes = sizes
    check_parallel(shape, tp, pp, dcp, bool(args.enable_expert_parallel), version)
    check_balancing(args, tp, dp, version)
    check_nodes(tp, pp, dp, nodes, version)


def _check_extensions(config: HfConfig, shape: Shape, args: EngineArgs, version: EngineVersion, tp: int, pp: int) -> None:
    """Whether adapters and drafts go with the model."""
    check_lora(shape, args, version)
    check_speculation(config, shape, args, version, tp, pp)


def _check_core(
    shape: Shape, args: EngineArgs, gpu: Gpu, dtype: str, quantization: str | None, runner: str, version: EngineVersion
) -> None:
    """Whether the release runs on the card at all and, where it has a V0 engine, runs this start on V1."""
    check_kernels(gpu, version, of_image=args.official_image)
    if version < V0_GONE:
        pools = runner == "pooling"
        start = Start(
            architecture=shape.architecture, args=args, gpu=gpu, dtype=dtype, quantization=quantization, pools=pools, latent=shape.latent
        )
        check_core(start, version)


@kept_with_config
def _class_of(config: HfConfig, version: EngineVersion) -> str:
    """The class that vLLM picks for a config within its bounds, where this release has the class."""
    check_config(config)
    architecture = architecture_of(config)
    check_registered(architecture, version)
    find(config, architecture)  # a class without a record is said to be one, whatever else is wrong with the request
    return architecture


def _check_given(args: EngineArgs, version: EngineVersion) -> None:
    """A release with rules, and values that it lists."""
    _check_release(version)
    check_values(args, version)


def _check_release(version: EngineVersion) -> None:
    if version < OLDEST_KNOWN:
        raise Unsupported(Check.ENGINE_TOO_OLD, f"vLLM {version} has no rules here; the oldest known release is {OLDEST_KNOWN}")
    if version.major != NEWEST_KNOWN.major:
        raise Unsupported(Check.ENGINE_UNKNOWN, f"vLLM {version} has no rules here; the newest known release is {NEWEST_KNOWN}")


def _runner(config: HfConfig, architecture: str, args: EngineArgs, version: EngineVersion) -> Literal["generate", "pooling"]:
    if args.runner == "draft":  # config/model.py: what vLLM gives the draft of speculative decoding; it answers no request by itself
        raise InvalidInput("engine_args.runner", args.runner, "is a task that is not supported yet: use auto, generate or pooling")
    if args.runner not in (None, "auto", "generate", "pooling"):
        raise InvalidInput("engine_args.runner", args.runner, "must be auto, generate or pooling")
    unnamed = args.runner in (None, "auto")
    if args.runner == "pooling" or (unnamed and args.convert is not None and argument_rules(version).convert_pools):
        return "pooling"
    if args.runner == "generate":
        return "generate"
    if not config.list_or_none("architectures"):
        return "pooling"
    if architecture in engine_defaults()["generative_despite_their_name"]:
        return "generate"
    if architecture.endswith(_POOLING_SUFFIXES) or (
        architecture.endswith("Model") and architecture not in ("ChatGLMModel", "InternVLChatModel")
    ):
        return "pooling"
    return "generate"


def _kv_cache_dtype(config: HfConfig, architecture: str, wanted: str | None, gpu: Gpu, version: EngineVersion) -> str:
    named = wanted if wanted is not None and wanted != "auto" else declared_kv_cache_dtype(config, version)
    if architecture == "DeepseekV32ForCausalLM" and named is not None:
        return _deepseek_cache_dtype(named, version)
    if named is not None:
        return named
    if architecture == "GlmMoeDsaForCausalLM" and gpu.compute_capability[0] == 10 and argument_rules(version).glm_fp8_cache:
        return "fp8_e4m3"
    return "auto"


def _deepseek_cache_dtype(named: str, version: EngineVersion) -> str:
    """models/config.py: DeepseekV32ForCausalLM.verify_and_update_config."""
    if named.startswith("fp8") and argument_rules(version).packs_deepseek_cache:
        return "fp8_ds_mla"
    return "auto" if named == "bfloat16" else named


def _utilisation(wanted: float | None, version: EngineVersion) -> float:
    if wanted is None:
        return argument_rules(version).gpu_memory_utilization
    if not 0 < wanted <= 1:
        raise InvalidInput("engine_args.gpu_memory_utilization", wanted, "must be above 0 and at most 1")
    return wanted


def _prefix_caching(shape: Shape, args: EngineArgs, runner: str, chunked: bool, version: EngineVersion) -> bool:
    """By default or as asked; a release that cannot keep states for prefixes has none of either (models/config.py: MambaModelConfig)."""
    rules, wanted = argument_rules(version), args.enable_prefix_caching
    stateful = _keeps_states(shape, version)
    if wanted is None:
        if shape.encoder_only or shape.cross_attends:
            return False
        by_default = rules.caches_state_prefixes if shape.attention_free else rules.caches_hybrid_prefixes
        wanted = not stateful or (rules.caches_pooled_prefixes if runner == "pooling" else by_default)
    planner = rules_for(version)
    cached = wanted and (not stateful or planner.mamba_mode_align or (planner.mamba_mode_all and shape.keeps_every_state))
    if cached and stateful:
        _check_cached_states(shape, args, chunked, version)
    return cached


def _keeps_states(shape: Shape, version: EngineVersion) -> bool:
    """As the release's own class says: the Transformers backend knows no states."""
    return (shape.has_state and registered(shape.architecture)) or _is_hybrid_by_name(shape, version)


def _check_cached_states(shape: Shape, args: EngineArgs, chunked: bool, version: EngineVersion) -> None:
    """Prefix caching that keeps the last states alone (mode align) wants prefill in chunks, and at first no drafts.

    models/config.py: MambaModelConfig, since 0.15.
    """
    planner = rules_for(version)
    if not planner.mamba_mode_align or (planner.mamba_mode_all and shape.keeps_every_state):
        return
    if not chunked:
        raise EngineRefusal(Check.CHUNKED_PREFILL_NEEDED, "chunked prefill is required for Mamba prefix caching")
    if args.num_speculative_tokens and not argument_rules(version).drafts_beside_last_states:
        raise EngineRefusal(
            Check.SPECULATIVE_TARGET_UNSUPPORTED,
            f"speculative decoding needs prefix caching switched off beside Mamba states in vLLM {version}",
        )


def _is_hybrid_by_name(shape: Shape, version: EngineVersion) -> bool:
    return shape.architecture == "GraniteMoeHybridForCausalLM" and argument_rules(version).granite_is_hybrid


def _uses_v2_runner(shape: Shape, runner: str, args: EngineArgs, quantization: str | None, version: EngineVersion) -> bool:
    """Which runner a release picks by itself (vLLM config/vllm.py:use_v2_model_runner)."""
    rules = argument_rules(version)
    drafts = args.drafts_by if args.num_speculative_tokens or args.speculative_method else ""
    unsupported = drafts in rules.v2_runner_lacks or bool(args.enable_lora and not rules.v2_runner_takes_lora)
    if drafts == "eagle3" and (args.pipeline_parallel_size or 1) > 1 and not rules.v2_runner_stages_eagle3:
        unsupported = True
    if rules.v2_runner == "none" or unsupported:
        return False
    if rules.v2_runner == "all":
        return True
    if runner != "generate" or (shape.has_state and registered(shape.architecture)) or _is_hybrid_by_name(shape, version):
        return False
    if rules.v2_runner == "qwen3":
        return shape.architecture == "Qwen3ForCausalLM" and quantization is None
    return not shape.named_experts or shape.architecture in _V2_MIXTURES


def _async_scheduling(args: EngineArgs, runner: str, pp: int, v2: bool, version: EngineVersion) -> bool:
    """Whether scheduling runs ahead of the GPU, by itself or as asked (config/vllm.py).

    Raises InvalidInput where it is asked for and the runner cannot: with drafts or stages that the release schedules in turn.
    """
    if args.async_scheduling is False:
        return False
    rules = argument_rules(version)
    drafts = not args.num_speculative_tokens or args.drafts_by_modules or args.drafts_by in rules.schedules_drafts_async
    always = v2 and rules.schedules_async_by_runner
    possible = always or (drafts and (pp == 1 or rules.schedules_stages_async))
    if args.async_scheduling:
        if possible:
            return True
        limit = f"does not go with these drafts or pipeline stages in vLLM {version}: leave it out"
        raise InvalidInput("engine_args.async_scheduling", True, limit)
    return possible and (rules.schedules_pooling_async if runner == "pooling" else rules.schedules_async)
