"""What the user asks for, read once from the InferenceDeployment and its policy into values the search works on.

Made at the start of every decision. Holds pinned engine arguments in vLLM's names; knows no pools and no verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final, TypeAlias

from plimsoll_estimator import OLDEST_KNOWN, EngineArgs, EngineVersion, InvalidInput, ParsedExtraArgs, check_rendered, parse_extra_args
from plimsoll_operator.api import EngineSpec, FitPolicySpec, InferenceDeployment, InferenceDeploymentSpec, PlacementSpec, TemplateSpec
from plimsoll_operator.decision.request.disk import Disk, disk_of
from plimsoll_operator.decision.request.fields import FIELD_OF
from plimsoll_operator.decision.request.variables import Counted, counted
from plimsoll_operator.decision.request.worksheet import Worksheet, worksheet_of
from plimsoll_operator.facts import ModelFacts, ModelUnknown
from plimsoll_operator.overlay import HostExtra, host_extra
from plimsoll_operator.remembered import Remembered, kept_bytes
from plimsoll_operator.serving import check_port, check_reachable
from plimsoll_operator.weights import check_loadable, implied_arguments, weights_of

DEFAULT_MIN_MAX_MODEL_LEN: Final = 8192

# spec.engine's fields that are arguments of vLLM, by the API's Python name.
_ADAPTERS: Final = "--lora-modules"
_SAME_NAME: Final = (
    "dtype", "quantization", "kv_cache_dtype", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size",
    "decode_context_parallel_size", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization",
    "block_size", "enforce_eager", "enable_prefix_caching", "enable_chunked_prefill",
)  # fmt: skip
# Rendered from the plan whatever the spec says: in extraArgs they would be given twice.
_OWNED: Final = frozenset(
    {
        "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "enable_expert_parallel", "decode_context_parallel_size",
        "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "dtype", "kv_cache_dtype", "quantization",
    }
)  # fmt: skip
_NODES: Final = "nnodes"
_OWN_IMAGE: Final = "vllm/vllm-openai"
_Extra: TypeAlias = tuple[tuple[tuple[str, Any], ...], tuple[str, ...]]
"""Fields of EngineArgs that extraArgs set, and the arguments among them without a rule."""
_EXTRA: Final[Remembered[bytes, _Extra]] = Remembered("extraArgs", 4 << 20, kept_bytes)
_WITH_DRAFT: Final = frozenset({"draft_model", "eagle", "eagle3", "medusa", "mlp_speculator"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRequest:
    """One InferenceDeployment as the search sees it. `args` holds only what is pinned; sizes in bytes, tokens or counts.

    `max_nodes` is how many nodes a replica may span here: what placement says where LeaderWorkerSet is served, else 1. `sure`
    asks for plans that start even at the lower end of the estimate's interval: so are values chosen that nobody pinned.
    `unruled` are arguments without a rule that the policy lets through. `insisted_context` is the spec's own fit.minMaxModelLen, 0 where
    it says none. `one_a_node`: a pod takes ports of its node, so that no node holds two.
    `root_forbidden`: no container may start as root, and no user is named. `stages` lets the search open pipeline stages that
    nobody asked for: not while a pinned tensor parallel size moves, since pinned again it would close them.
    """

    model: str
    version: EngineVersion
    args: EngineArgs
    replicas: int
    resize: bool
    may_change: tuple[str, ...]
    min_max_model_len: int
    reserve_bytes: int
    placement: PlacementSpec
    max_gpus_per_replica: int | None
    worksheet: Worksheet | None = None
    host_extra: HostExtra
    disk: Disk
    unruled: tuple[str, ...] = ()
    insisted_context: int = 0
    one_a_node: bool = False
    root_forbidden: bool = False
    max_nodes: int = 1
    stages: bool = True
    sure: bool = False

    def with_args(self, **changes: Any) -> DeploymentRequest:
        """The same request with other pinned arguments; None unpins."""
        return replace(self, args=replace(self.args, **changes))

    def with_worksheet(self, worksheet: Worksheet) -> DeploymentRequest:
        """The same request for another workload: the least context is what its longest class needs."""
        return replace(self, worksheet=worksheet, min_max_model_len=worksheet.max_model_len)

    @property
    def max_model_len(self) -> int | None:
        """The context asked for: pinned, else what the worksheet needs, else None: as long as fits."""
        if self.args.max_model_len is not None or self.worksheet is None:
            return self.args.max_model_len
        return self.min_max_model_len

    def engines(self, data_parallel_size: int) -> int:
        """Engines that share the workload. A deployment scaled to 0 is planned as for one replica: it will be scaled up."""
        return max(1, self.replicas) * data_parallel_size


def read_request(
    deployment: InferenceDeployment,
    policy: FitPolicySpec,
    *,
    leader_worker_set: bool = False,
    draft: ModelFacts | ModelUnknown | None = None,
) -> DeploymentRequest:
    """Raises InvalidInput naming the field where extraArgs cannot be read or contradict the spec."""
    spec = deployment.spec
    version = spec.engine.engine_version
    own = is_vllms_own_image(spec.engine.image) or None
    check_port(spec.engine)
    check_loadable(spec, version)
    tokens = (*spec.engine.extra_args, *implied_arguments(spec.model, spec.engine.extra_args))
    said, unruled = _args(spec.engine, tokens, version, reserves_unruled=policy.unruled_flags == "Reserve")
    variables = _variables(spec.template, said, version)
    args = replace(
        said,
        trust_remote_code=bool(said.trust_remote_code),
        speculative_model_config=draft.config if isinstance(draft, ModelFacts) else None,
        official_image=own,
        flashinfer_installed=own,
        deep_gemm_installed=own,
        **variables,
        compile_cache="cold",  # a new pod finds none, and one with a volume for it starts a first time too
    )
    _check_draft(spec)
    if own and args.speculative_method == "suffix":  # config/speculative.py: has_arctic_inference
        limit = "needs the package arctic-inference, which vLLM's own image does not hold: use an image that has it"
        raise InvalidInput("spec.engine.speculative.method", "suffix", limit)
    worksheet = worksheet_of(spec.workload)
    if worksheet is not None:
        floor = max(spec.fit.min_max_model_len or 0, worksheet.max_model_len)
    else:
        floor = spec.fit.min_max_model_len or DEFAULT_MIN_MAX_MODEL_LEN
    if args.max_model_len is not None:
        floor = min(floor, args.max_model_len)
    allowed = policy.allowed_moves
    may_change = tuple(field for field in spec.fit.may_change if allowed is None or field in allowed)
    return DeploymentRequest(
        model=spec.model.name,
        version=version,
        args=args,
        replicas=spec.replicas,
        resize=spec.fit.policy == "Resize",
        may_change=may_change,
        min_max_model_len=floor,
        reserve_bytes=max(spec.fit.reserve_bytes, policy.reserve_bytes),
        placement=spec.placement,
        max_gpus_per_replica=policy.max_gpus_per_replica,
        host_extra=host_extra(spec.template),
        disk=disk_of(spec, draft),
        unruled=unruled,
        worksheet=worksheet,
        one_a_node=spec.template is not None and spec.template.host_network is True,
        root_forbidden=_root_forbidden(spec.template),
        insisted_context=spec.fit.min_max_model_len or 0,
        max_nodes=spec.placement.max_nodes_per_replica if leader_worker_set else 1,
    )


def _variables(template: TemplateSpec | None, said: EngineArgs, version: EngineVersion) -> Counted:
    found = counted(template.env if template is not None else (), version)
    if said.attention_backend is not None and "attention_backend" in found:  # create_engine_config: "are mutually exclusive"
        limit = "is said beside --attention-backend, which vLLM refuses: say one"
        raise InvalidInput("spec.template.env[VLLM_ATTENTION_BACKEND]", found["attention_backend"], limit)
    return found


def _args(
    engine: EngineSpec, tokens: tuple[str, ...], version: EngineVersion, *, reserves_unruled: bool
) -> tuple[EngineArgs, tuple[str, ...]]:
    """What is pinned, and the arguments without a rule in it. `tokens` are extraArgs, with what the place of the weights implies."""
    pinned: dict[str, Any] = {name: value for name in _SAME_NAME if (value := getattr(engine, name)) is not None}
    if engine.expert_parallel is not None:
        pinned["enable_expert_parallel"] = engine.expert_parallel
    if engine.lora is not None:
        pinned |= {"enable_lora": True, "max_loras": engine.lora.max_loras, "max_lora_rank": engine.lora.max_lora_rank}
    if engine.speculative is not None:
        pinned["speculative_method"] = engine.speculative.resolved_method
        pinned["num_speculative_tokens"] = engine.speculative.num_speculative_tokens
    if version >= OLDEST_KNOWN:
        # Decode context parallelism has a check of its own, by caches and ranks.
        check_rendered({name: value for name, value in pinned.items() if name != "decode_context_parallel_size"}, version)
    if not tokens:
        return EngineArgs(**pinned), ()
    given = (tokens, version, tuple(sorted(pinned.items())), reserves_unruled)
    extra, unruled = _EXTRA.ask(blake2b(repr(given).encode(), digest_size=32).digest(), lambda: _extra(*given))
    return EngineArgs(**(dict(extra) | pinned)), unruled


def _root_forbidden(template: TemplateSpec | None) -> bool:
    security = template.security_context if template is not None else None
    return security is not None and bool(security.run_as_non_root) and security.run_as_user is None


def is_vllms_own_image(image: str) -> bool:
    """Whether an image is the one that vLLM publishes for NVIDIA GPUs, which holds FlashInfer; a mirror under another name is not known."""
    repository = image.partition("@")[0].removeprefix("docker.io/")
    return repository == _OWN_IMAGE or repository.startswith(f"{_OWN_IMAGE}:")


def _check_draft(spec: InferenceDeploymentSpec) -> None:
    """A draft for a method that has none, or one that offline pods would never find."""
    draft = spec.engine.speculative
    if draft is None or draft.model is None:
        return
    if draft.resolved_method not in _WITH_DRAFT:
        raise InvalidInput("spec.engine.speculative.model", draft.model, f"is not used by method {draft.resolved_method}: leave it out")
    if not weights_of(spec.model).offline or spec.model.in_the_hub_s_cache or draft.model.startswith("/"):
        return
    limit = "must be a path on the volume, under /models: pods that load their weights from a volume or an image do not reach the hub"
    raise InvalidInput("spec.engine.speculative.model", draft.model, limit)


def _parsed(
    tokens: tuple[str, ...], version: EngineVersion, pinned: tuple[tuple[str, object], ...], reserves_unruled: bool
) -> ParsedExtraArgs:
    """Raises InvalidInput; of an argument that a FitPolicy could let through, it says so."""
    try:
        return parse_extra_args(tokens, version, dict(pinned), reserves_unruled=reserves_unruled)
    except InvalidInput as error:
        if not reserves_unruled and _would_be_let(tokens, version, pinned):
            limit = f"{error.limit}; a FitPolicy with unruledFlags: Reserve lets it through, judged at the pessimistic end"
            raise InvalidInput(error.field, error.value, limit) from error
        raise


def _would_be_let(tokens: tuple[str, ...], version: EngineVersion, pinned: tuple[tuple[str, object], ...]) -> bool:
    try:
        parse_extra_args(tokens, version, dict(pinned), reserves_unruled=True)
    except InvalidInput:
        return False
    return True


def _extra(tokens: tuple[str, ...], version: EngineVersion, pinned: tuple[tuple[str, object], ...], reserves_unruled: bool) -> _Extra:
    check_reachable(tokens, version)
    parsed = _parsed(tokens, version, pinned, reserves_unruled)
    _check_adapters(parsed, pinned)
    spelled = {item.row.engine_field: item.spelling for item in parsed.given}
    for name in parsed.engine_args:
        if name == _NODES:
            limit = "is set by the plan: spec.placement.maxNodesPerReplica says how many nodes a replica may take"
            raise InvalidInput("spec.engine.extraArgs", "--nnodes", limit)
        if name in _OWNED:
            raise InvalidInput("spec.engine.extraArgs", spelled.get(name, name), f"is set by the plan: pin {FIELD_OF[name]}")
    return tuple(parsed.engine_args.items()), parsed.unruled


def _check_adapters(parsed: ParsedExtraArgs, pinned: tuple[tuple[str, object], ...]) -> None:
    """Adapters by name load as the server starts, and end it where LoRA is off (vllm/entrypoints, init_static_loras)."""
    named = any(item.flag == _ADAPTERS and item.values not in ((), ("None",)) for item in parsed.given)
    if named and not parsed.engine_args.get("enable_lora") and not dict(pinned).get("enable_lora"):
        limit = "names adapters and nothing switches them on, so that vLLM ends as it starts: set spec.engine.lora"
        raise InvalidInput("spec.engine.extraArgs", _ADAPTERS, limit)
