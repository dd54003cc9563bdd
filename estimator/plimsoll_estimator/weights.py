"""The door of the weights: a model's configuration and resolved arguments in, bytes of every pipeline stage out.

Bytes per rank are as vLLM's model classes allocate them and as "Model loading took" logs them. Chooses the model line's builder and the
quantisation method. Knows no layer itself.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Final

from plimsoll_estimator.checks import Check
from plimsoll_estimator.errors import Unsupported
from plimsoll_estimator.hf_config import HfConfig
from plimsoll_estimator.kept import kept_with_config
from plimsoll_estimator.layers.rank import Built, Rank
from plimsoll_estimator.models.register import architecture_of, find, read
from plimsoll_estimator.quantization.loading import originals_bytes
from plimsoll_estimator.quantization.methods import method_for
from plimsoll_estimator.resolve.quantization import resolve_quantization
from plimsoll_estimator.resolved import RankWeights, ResolvedArgs, Sight

_SIGHT: Final = Sight(
    unseen={
        "max_model_len": 0, "max_num_seqs": 0, "max_num_batched_tokens": 0, "max_in_flight_tokens": 0, "max_cudagraph_capture_size": 0,
        "gpu_memory_utilization": 0.0, "kv_cache_dtype": "", "block_size": None, "enable_prefix_caching": False,
        "enable_chunked_prefill": False, "enforce_eager": False, "uses_v2_model_runner": False, "async_scheduling": False,
        "nnodes": 1, "shares_experts": False, "cudagraph_mode": "full",
    },
    given=("mm_encoder_tp_mode", "speculative_method", "speculative_model_config"),
)  # fmt: skip
"""Weights do not depend on batch sizes, context, budget, nor on the card beyond its capability."""
_SEES_LENGTH: Final = frozenset({"MiniMaxText01ForCausalLM", "MiniMaxM1ForCausalLM", "MiniMaxForCausalLM"})
"""Classes that cut their rope table at the length served."""


def weights_per_stage(config: HfConfig, resolved: ResolvedArgs) -> tuple[RankWeights, ...]:
    """Bytes of the fullest rank of every pipeline stage.

    Raises Unsupported for an architecture or quantisation without rules, EngineRefusal for shapes that vLLM's model
    classes refuse to build, InvalidInput for a configuration that lacks or garbles a dimension.
    """
    if resolved.given.limit_mm_per_prompt is not None or resolved.architecture in _SEES_LENGTH:  # cannot be remembered by
        return _stages(config, resolved)
    return _remembered(config, _SIGHT.key(resolved))


@kept_with_config
def _remembered(config: HfConfig, seen: tuple[object, ...]) -> tuple[RankWeights, ...]:
    """A search asks for the same layout on many cards and at many lengths."""
    return _stages(config, _SIGHT.resolved(seen))


def draft_weights_bytes(resolved: ResolvedArgs) -> int:
    """Bytes of a separate draft model on each rank of the last stage, which vLLM loads beside the target; 0 without one.

    Prediction modules are counted with the target, whichever checkpoint they are read from. Raises as `weights_per_stage` does.
    """
    config = resolved.given.speculative_model_config
    if config is None or not resolved.num_speculative_tokens or resolved.given.drafts_by_modules:
        return 0
    architecture = architecture_of(config)
    draft = replace(
        resolved,
        architecture=architecture,
        quantization=resolve_quantization(config, architecture, None, resolved.gpu, resolved.version, resolved.dtype),
        pipeline_parallel_size=1,
        num_speculative_tokens=0,
        enable_expert_parallel=False,
    )
    return weights_per_stage(config, draft)[0].loaded_bytes


def _stages(config: HfConfig, resolved: ResolvedArgs) -> tuple[RankWeights, ...]:
    model, shape = find(config, resolved.architecture), read(config, resolved.architecture)
    method = method_for(config, resolved)
    stages: list[RankWeights] = []
    built: dict[Hashable, Built] = {}
    for stage in range(resolved.pipeline_parallel_size):
        rank = Rank(config, resolved, method, stage, shape, built)
        model.weights(rank)
        if rank.drafts_by_mtp and shape.predictions and not rank.builds_modules:
            raise Unsupported(Check.SPECULATIVE_METHOD, f"no weight rule for the prediction modules of {resolved.architecture[:120]}")
        created = rank.created_bytes
        loaded = created + rank.added_bytes
        beside = originals_bytes(config, shape, resolved, created, loaded)
        stages.append(RankWeights(created_bytes=created, loaded_bytes=loaded, largest_transient_bytes=beside))
    return tuple(stages)
