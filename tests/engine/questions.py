"""What Plimsoll answers to a wish, and what the engine is to be asked about it.

Called by the command and by the small form in CI. Runs Plimsoll's own door: facts, `decide`, rendering. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.engine.wishes import Wish

from plimsoll_estimator import (
    Check,
    EngineArgs,
    EngineVersion,
    Gpu,
    InvalidInput,
    Prepared,
    ResolvedArgs,
    Unsupported,
    gpu_from,
    prepare,
    render_args,
    shape_of,
)
from plimsoll_estimator.models.register import architecture_of
from plimsoll_estimator.resolve.batching import shares_a_batch
from plimsoll_estimator.resolve.checks import may_be_mistrals
from plimsoll_estimator.resolve.config_class import prefers_params, reads, unread_part
from plimsoll_estimator.resolve.quantization import stored_by
from plimsoll_operator.api import EngineSpec, InferenceDeployment, parse_inference_deployment
from plimsoll_operator.capacity import CapacityIndex, by_name, derived_facts
from plimsoll_operator.decision import decide
from plimsoll_operator.decision.effort import OutOfTime
from plimsoll_operator.decision.request.request import read_request
from plimsoll_operator.facts import Facts, ModelFacts, NamespaceUse, PoolFacts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.render import serve_arguments
from plimsoll_operator.verdict import Admit, Plan, Reason, Reject, Resize, Verdict

MIB = 1 << 20
OURS = (
    "is given twice",
    "is set by the plan",
    "is set from the spec",
    "is set in the spec too",
    "contradicts the spec",
    "contradicts the value given",
    "can move GPU memory",
    "is refused: ",
    "has no rule",
    "without a rule",
    "no backend of vLLM's own",
    "with a rule here",
    "fall back to its V0",
    "which another flag sets too",
    "is a task that is not supported yet",
    "is not used by method",
    "binds one address",
    "holds a secret",
    "starts no server",
    "nothing switches them on",
    "asks every client for a certificate",
)
"""Ends of sentences by which Plimsoll refuses an argument for reasons of its own; all others are said to be the release's."""


@dataclass(frozen=True)
class Asked:
    """One list for the engine, and what Plimsoll says of it: it configures to `resolved`, falls back to V0, or is refused by `check`.

    `not_said` names values that the engine's configuration does not hold yet, or cannot work out here. `later`: the refusal is of a check
    that no configuration of this release makes.
    """

    argv: tuple[str, ...]
    expects: str
    check: str = ""
    words: str = ""
    resolved: ResolvedArgs | None = None
    not_said: tuple[str, ...] = ()
    of_plan: bool = False
    later: bool = False


@dataclass(frozen=True)
class Answered:
    """Plimsoll's answer to a wish.

    admitted; engine (a rule of the engine's configuration refuses), later (one of its workers), memory, ours (any other refusal);
    unknown; or apart: the oracle lacks what this model's configuration needs.
    """

    kind: str
    words: str
    asked: tuple[Asked, ...]


LATER = {
    "DtypeUnsupported": "needs compute capability",  # the worker: platforms/cuda.py, check_if_supports_dtype
    "KvHeadsNotDivisible": "",  # the attention class of the model
    "QuantizationBlockMismatch": "",  # quantization/utils/fp8_utils.py, as layers are built
    "QuantizationGroupMismatch": "",  # the method's create_weights
    "NotDivisible": "",  # distributed/utils.py, as layers are built
    "TooManyRanksForExperts": "",  # the mixture block of the model
    "TensorParallelUnsupported": "",  # the Transformers backend, as it builds the model
    "NoKernels": "",  # the first kernel that is launched
    "LoraUnsupported": "",  # v1/worker/lora_model_runner_mixin.py, when the model is loaded
    "LoraVocabularyTooLarge": "",  # lora/layers/logits_processor.py
    "KvCacheDtypeUnsupported": "",  # the attention layer, and its backend
    "NoAttentionBackend": "",  # platforms/cuda.py, asked by the attention layer
    "SpeculativeTargetUnsupported": "does not support eagle3",  # v1/worker/gpu_model_runner.py, when the model is loaded
    "SpeculativeModulesUncounted": "",  # models/*_mtp.py, as modules are built: no configuration counts them
    "LanguageModelUnnamed": "",  # config/vllm.py: with_hf_config, as the class behind the tower is built
    "KvPageSizesDiffer": "",  # v1/core/kv_cache_utils.py, when the cache is planned
    "UnsupportedAttention": "",  # the attention class of the model
    "NoAttentionCache": "",  # v1/core/kv_cache_utils.py
    "FlashInferSamplerUnsupported": "",  # v1/sample/ops/topk_topp_sampler.py, as the runner is made
    "QuantizationNeedsCheckpoint": "mxfp4",  # quantization/mxfp4.py as layers are built, fused_moe/layer.py as they are loaded
}
"""Checks that vLLM makes once workers start, with what their words hold where only some do: no configuration can say them."""


LATER_BEFORE = {
    "--distributed-executor-backend": EngineVersion(0, 18),  # v1/executor/abstract.py: Executor.get_class, which the configuration asks
    "SpeculativeDraftUnsupported": EngineVersion(0, 17),  # config/speculative.py: update_arch_ looks the draft's new class up
}
"""Checks that only workers made before this release."""


def is_later(asked: Asked, facts: Facts) -> bool:
    """Whether it is refused by what no configuration of the release looks at."""
    before = LATER_BEFORE.get(asked.check)
    if before is not None and facts.deployment.spec.engine.engine_version < before:
        return True
    if asked.check == "UnknownQuantization":  # quantization/modelopt.py of 0.8.5: from_config, of an algorithm that a later method reads
        engine = facts.deployment.spec.engine
        return engine.quantization is None and engine.engine_version < EngineVersion(0, 9)
    return asked.check in LATER and LATER[asked.check] in asked.words


class World:
    """A Store of one node with eight GPUs of one product, huge beside them."""

    def __init__(self, product: str) -> None:
        self.gpu: Gpu = gpu_from(product)
        index = CapacityIndex(())
        index.node_event("ADDED", _node(product, -(-self.gpu.total_memory_bytes // MIB)))
        self.pools = by_name(map(derived_facts, index.pools()))

    def model_profile(self, namespace: str, name: str) -> None:
        return None

    def cluster_model_profile(self, name: str) -> None:
        return None

    def model_profiles(self, namespace: str, model: str) -> tuple[()]:
        return ()

    def cluster_model_profiles(self, model: str) -> tuple[()]:
        return ()

    def pool_facts(self) -> tuple[PoolFacts, ...]:
        return self.pools

    def fit_policies(self) -> tuple[()]:
        return ()

    def calibrations(self) -> tuple[()]:
        return ()

    def namespace_labels(self, namespace: str) -> dict[str, str]:
        return {}

    def use_beside(self, namespace: str, name: str) -> NamespaceUse:
        return NamespaceUse()

    def serves_leader_worker_sets(self) -> bool:
        return True

    def bypass_is_protected(self) -> bool:
        return False


def _node(product: str, memory: int) -> dict[str, Any]:
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.count": "8", "nvidia.com/gpu.memory": str(memory)}
    allocatable = {"cpu": "1900", "memory": "64000Gi", "ephemeral-storage": "64000Gi", "nvidia.com/gpu": "8"}
    return {
        "metadata": {"name": "node", "labels": labels},
        "spec": {},
        "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def answered(wish: Wish) -> Answered:
    """Plimsoll's answer to a wish, and what the engine is to be asked."""
    deployment = parse_inference_deployment(wish.manifest)
    world = World(wish.product)
    facts = facts_for(deployment, world, applied_plan=None)
    apart = not_here(facts)
    if apart is not None:
        return Answered(kind="apart", words=apart, asked=())
    verdict = verdict_on(facts)
    if isinstance(verdict, Admit | Resize):
        asked = (*_of_the_plan(facts, world.gpu, verdict.plan), *_as_written(facts, world.gpu))
        return Answered(kind="admitted", words="", asked=asked)
    asked = _as_written(facts, world.gpu)
    if isinstance(verdict, Reject):
        refused = any(one.expects == "refused" for one in asked)
        by_engine = refused and verdict.reason in (Reason.ENGINE_REFUSES, Reason.INVALID_SPEC)
        of_memory = verdict.reason in (Reason.INSUFFICIENT_GPU_MEMORY, Reason.INSUFFICIENT_KV_CACHE)
        later = by_engine and all(one.later for one in asked)
        if verdict.reason == Reason.ENGINE_REFUSES and asked and all(one.expects == "resolved" for one in asked):
            return Answered(kind="later", words=verdict.message, asked=asked)  # it configures, and the cache's backend stops a worker
        kind = "later" if later else "engine" if by_engine else "memory" if of_memory else "ours"
        return Answered(kind=kind, words=verdict.message, asked=asked if kind != "ours" else ())
    # Some other layout or length may have no rule: of the list as it is written is known what it configures to, or that it runs on V0.
    return Answered(kind="unknown", words=verdict.message, asked=tuple(one for one in asked if one.expects in ("V0", "resolved")))


def not_here(facts: Facts) -> str | None:
    """What the oracle has not of a model: the Python code of its publisher, or the whole of its settings file."""
    model = facts.model
    if not isinstance(model, ModelFacts):
        return None
    engine = facts.deployment.spec.engine
    if not reads(model.config.model_type, engine.engine_version):
        if "--trust-remote-code" in engine.extra_args:
            return "the checkpoint's own code reads its config, and the catalogue has no code"
        if not model.as_published:
            return "the catalogue's copy names another model type than the publisher's file"
    elif model.config.text is not model.config and model.config.text.model_type == model.config.model_type:
        return "the file names the text model's class for the whole: vLLM reads the publisher's params.json instead"
    elif unread_part(model.config, engine.engine_version) and prefers_params(model.config, engine.engine_version):
        return "vLLM reads the publisher's params.json instead of the file, and the catalogue has none"
    if "--config-format=mistral" in engine.extra_args and may_be_mistrals(architecture_of(model.config)):
        return "vLLM reads the publisher's params.json instead of the file, and the catalogue has none"
    settings = stored_by(model.config)
    inner = settings.raw("quantization") if settings is not None else None
    if isinstance(inner, Mapping) and not {"group_size", "exclude_modules"} & inner.keys():
        return "the catalogue's copy of the settings file lacks groups and left-out modules"
    return None


def verdict_on(facts: Facts) -> Verdict:
    """`decide` without looking for offers."""

    def stop() -> None:
        raise OutOfTime

    try:
        return decide(facts, at_leisure=stop)
    except OutOfTime as stopped:
        if stopped.known is None:
            raise  # only offers are left out
        return stopped.known


def _of_the_plan(facts: Facts, gpu: Gpu, plan: Plan) -> tuple[Asked, ...]:
    """The rendered list, and what the plan says it configures to."""
    ask = read_request(facts.deployment, facts.policy, leader_worker_set=True, draft=facts.draft)
    names = (
        "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "enable_expert_parallel", "decode_context_parallel_size",
        "max_model_len", "max_num_seqs", "max_num_batched_tokens", "dtype", "kv_cache_dtype",
    )  # fmt: skip
    told = {name: getattr(plan, name) for name in names}
    args = replace(ask.args, **told, gpu_memory_utilization=float(plan.gpu_memory_utilization))
    found = _prepared(facts, args, gpu)
    assert isinstance(found, Prepared), f"what is admitted is prepared: {found}"
    argv = tuple(serve_arguments(facts.deployment, plan))
    return (Asked(argv=argv, expects="resolved", resolved=found.resolved, not_said=_not_said(facts), of_plan=True),)


def _not_said(facts: Facts) -> tuple[str, ...]:
    """Blocks of attention become as large as a state later; tokens of a video that is whole in one batch are the processor's to tell."""
    if not isinstance(facts.model, ModelFacts):
        return ()
    config = facts.model.config
    blocks = ("block_size",) if shape_of(config).has_state else ()
    return (*blocks, "max_num_batched_tokens") if shares_a_batch(config, architecture_of(config)) else blocks


def _prepared(facts: Facts, args: EngineArgs, gpu: Gpu) -> Prepared | Asked:
    """What the estimator makes of arguments; a refusal or a doubt as what is expected of the engine, without a list."""
    assert isinstance(facts.model, ModelFacts)
    try:
        found = prepare(facts.model.config, args, gpu, facts.deployment.spec.engine.engine_version)
    except InvalidInput as error:
        return Asked(argv=(), expects="ours" if _is_ours(error) else "refused", check=error.field, words=str(error))
    except Unsupported as doubt:
        falls = doubt.reason in (Check.ENGINE_FALLS_BACK, Check.ENGINE_FALLS_BACK_FOR_STAGES)
        return Asked(argv=(), expects="V0" if falls else "unknown", check=str(doubt.reason), words=str(doubt))
    if isinstance(found, Prepared):
        return found
    assert found.reason is not None
    expects = "unknown" if found.reason.of_memory else "refused"
    return Asked(argv=(), expects=expects, check=str(found.reason), words=str(found.message))


def _is_ours(error: InvalidInput) -> bool:
    return any(words in str(error) for words in OURS)


def as_written(wish: Wish) -> Asked | None:
    """What is expected of the engine for a wish's own list; None where nothing is."""
    world = World(wish.product)
    asked = _as_written(facts_for(parse_inference_deployment(wish.manifest), world, applied_plan=None), world.gpu)
    return asked[0] if asked else None


def _as_written(facts: Facts, gpu: Gpu) -> tuple[Asked, ...]:
    """The wish's own list, without what a plan adds; nothing where it cannot be written, or where no rule says what comes of it."""
    if not isinstance(facts.model, ModelFacts):
        return ()
    argv = written(facts.deployment)
    if argv is None:
        return ()
    try:
        args = read_request(facts.deployment, facts.policy, leader_worker_set=True, draft=facts.draft).args
    except InvalidInput as error:
        refused = Asked(argv=argv, expects="refused", check=error.field, words=str(error))
        return () if _is_ours(error) else (replace(refused, later=is_later(refused, facts)),)
    found = _prepared(facts, args, gpu)
    if isinstance(found, Asked):
        return (replace(found, argv=argv, later=is_later(found, facts)),) if found.expects in ("refused", "V0") else ()
    return (Asked(argv=argv, expects="resolved", resolved=found.resolved, not_said=_not_said(facts)),)


def written(deployment: InferenceDeployment) -> tuple[str, ...] | None:
    """`vllm serve` arguments of the spec alone; None where the release has no flag for one of its fields."""
    engine = deployment.spec.engine
    try:
        return (deployment.spec.model.name, *render_args(_said(engine), engine.engine_version), *engine.extra_args)
    except InvalidInput:
        return None


def _said(engine: EngineSpec) -> dict[str, Any]:
    names = (
        "dtype", "quantization", "kv_cache_dtype", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size",
        "decode_context_parallel_size", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization",
        "block_size", "enforce_eager", "enable_prefix_caching", "enable_chunked_prefill",
    )  # fmt: skip
    said: dict[str, Any] = {name: getattr(engine, name) for name in names}
    said["enable_expert_parallel"] = engine.expert_parallel
    if engine.lora is not None:
        said |= {"enable_lora": True, "max_loras": engine.lora.max_loras, "max_lora_rank": engine.lora.max_lora_rank}
    if engine.speculative is not None:
        said |= {
            "speculative_method": engine.speculative.resolved_method,
            "speculative_model": engine.speculative.model,
            "num_speculative_tokens": engine.speculative.num_speculative_tokens,
        }
    # What says nothing need not be said: a release may have no flag for it.
    unsaid = {"decode_context_parallel_size": 1, "enable_expert_parallel": False, "enforce_eager": False}
    return {name: value for name, value in said.items() if value is not None and not (name in unsaid and value == unsaid[name])}
