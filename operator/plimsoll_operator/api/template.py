"""The bounded overlay on the generated pod (design: labels, annotations, env, safe volumes, CPU and memory, sidecars).

Read by rendering. What is not listed here cannot be set: host namespaces, hostPath, privilege, GPU resources.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from plimsoll_operator.api.base import ANNOTATION_KEY, ApiModel, CpuText, FileKey, LabelMap, MemoryText, Name, Rule, keys_rule
from plimsoll_operator.api.pod_life import MOST_SECONDS, Lifecycle, ProbeTuning, TopologySpread
from plimsoll_operator.names import APP_NAME_LABEL, GROUP, INSTANCE_LABEL, MANAGED_LABEL
from plimsoll_operator.pod import CACHE_MOUNT, SHARED_MEMORY_MOUNT, WEIGHTS_MOUNT

OWNED_ENV: Final = (
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HIP_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "ROCR_VISIBLE_DEVICES",
    "VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE",
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN",
    "VLLM_ALLREDUCE_USE_FLASHINFER",
    "VLLM_ALLREDUCE_USE_SYMM_MEM",
    "VLLM_ENABLE_STARTUP_PLAN",
    "VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE",
    "VLLM_KV_CACHE_LAYOUT",
    "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS",
    "VLLM_MLA_DISABLE",
    "VLLM_PORT",
    "VLLM_PP_LAYER_PARTITION",
    "VLLM_USE_NCCL_SYMM_MEM",
    "VLLM_USE_SIMPLE_KV_OFFLOAD",
    "VLLM_USE_V1",
    "VLLM_USE_V2_MODEL_RUNNER",
)
"""Variables that decide which GPUs and how much of them a process takes (vLLM 0.8 to 0.33, envs.py), or that the plan sets itself."""

OWNED_LABELS: Final = (INSTANCE_LABEL, MANAGED_LABEL, APP_NAME_LABEL)
OWNED_PREFIX: Final = f"{GROUP}/"
OWNED_VOLUMES: Final = ("hub-cache", "shm", "weights")
OWNED_PATHS: Final = (SHARED_MEMORY_MOUNT, WEIGHTS_MOUNT, CACHE_MOUNT)
ENGINE_CONTAINER: Final = "vllm"
MAX_ID: Final = (1 << 31) - 1


def _cel(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


def _clashes(path: str) -> bool:
    """At one of the plan's mounts, below it, or above it, where it would hide what is there."""
    return any(path == own or path.startswith(f"{own}/") or own.startswith(f"{path.rstrip('/')}/") for own in OWNED_PATHS)


def _unique(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)


def _named_list(most: int) -> Any:
    """A list whose entries are told apart by name, as the API server merges it."""
    return Field(max_length=most, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})


class KeySelector(ApiModel):
    """A key of a Secret or ConfigMap."""

    name: Name
    """Name of the object."""
    key: FileKey
    """Key in it."""
    optional: bool = False
    """Start without it."""


class EnvVarSource(ApiModel):
    """Where a variable's value comes from: exactly one."""

    secret_key_ref: KeySelector | None = None
    """A Secret's key."""
    config_map_key_ref: KeySelector | None = None
    """A ConfigMap's key."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.secretKeyRef) != has(self.configMapKeyRef)",
            holds=lambda s: (s.secret_key_ref is None) != (s.config_map_key_ref is None),
            message="exactly one of secretKeyRef and configMapKeyRef must be set",
        ),
    )


class EnvVar(ApiModel):
    """An environment variable."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name; those that the plan owns are refused."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Literal value."""
    value_from: EnvVarSource | None = None
    """Reference instead of a literal."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!(self.name in {_cel(OWNED_ENV)})",
            holds=lambda e: e.name not in OWNED_ENV,
            message="the plan owns this variable; a hub token is named by spec.model.source.huggingFace.tokenSecretRef",
            field=".name",
        ),
        Rule(
            cel="!(has(self.value) && has(self.valueFrom))",
            holds=lambda e: e.value is None or e.value_from is None,
            message="value and valueFrom exclude each other",
            field=".valueFrom",
        ),
    )


class EmptyDirVolume(ApiModel):
    """Scratch space on the node."""

    size_limit: MemoryText | None = None
    """Largest size."""


class NamedVolume(ApiModel):
    """A Secret or ConfigMap as files."""

    name: Name
    """Name of the object."""


class ClaimVolume(ApiModel):
    """A PersistentVolumeClaim."""

    claim_name: Name
    """Name of the claim."""
    read_only: bool = False
    """Mount read-only."""


class Volume(ApiModel):
    """A volume of one of the four safe kinds."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    """Name in the pod."""
    mount_path: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^/[^:]*$")]
    """Where the engine's container sees it."""
    empty_dir: EmptyDirVolume | None = None
    """Scratch space."""
    config_map: NamedVolume | None = None
    """A ConfigMap."""
    secret: NamedVolume | None = None
    """A Secret."""
    persistent_volume_claim: ClaimVolume | None = None
    """A claim."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="[has(self.emptyDir), has(self.configMap), has(self.secret), has(self.persistentVolumeClaim)].filter(x, x).size() == 1",
            holds=lambda v: sum(x is not None for x in (v.empty_dir, v.config_map, v.secret, v.persistent_volume_claim)) == 1,
            message="exactly one of emptyDir, configMap, secret and persistentVolumeClaim must be set",
        ),
        Rule(
            cel=f"!(self.name in {_cel(OWNED_VOLUMES)})",
            holds=lambda v: v.name not in OWNED_VOLUMES,
            message="the plan owns a volume of this name",
            field=".name",
        ),
        Rule(
            cel=(
                f"!{_cel(OWNED_PATHS)}.exists(own, self.mountPath == own || self.mountPath.startsWith(own + '/')"
                " || own.startsWith(self.mountPath + (self.mountPath.endsWith('/') ? '' : '/')))"
            ),
            holds=lambda v: not _clashes(v.mount_path),
            message="the plan mounts something here",
            field=".mountPath",
        ),
    )


class TemplateResources(ApiModel):
    """Requests of the engine's container; they can raise what was computed, never lower it."""

    cpu: CpuText | None = None
    """CPU."""
    memory: MemoryText | None = None
    """Host memory."""


class Sidecar(ApiModel):
    """A further container beside the engine."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    """Container name."""
    image: Annotated[str, Field(min_length=1, max_length=512)]
    """Container image."""
    args: Annotated[tuple[Annotated[str, Field(max_length=512)], ...], Field(max_length=32)] = ()
    """Arguments."""
    env: Annotated[tuple[EnvVar, ...], _named_list(32)] = ()
    """Environment."""
    resources: TemplateResources | None = None
    """Requests."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"self.name != '{ENGINE_CONTAINER}'",
            holds=lambda s: s.name != ENGINE_CONTAINER,
            message="the engine's container has this name",
            field=".name",
        ),
        Rule(cel="true", holds=lambda s: _unique([e.name for e in s.env]), message="a name is given twice", field=".env"),
    )


class PodSecurity(ApiModel):
    """As whom the pod's processes run. What Pod Security's restricted profile asks for beside is always there: no privilege escalation,
    no capabilities, the container runtime's seccomp profile."""

    run_as_user: Annotated[int, Field(ge=1, le=MAX_ID)] | None = None
    """User of all containers, not root. vLLM's home is then a volume of the pod's own: /root belongs to root."""
    run_as_group: Annotated[int, Field(ge=0, le=MAX_ID)] | None = None
    """First group of all containers."""
    run_as_non_root: bool | None = None
    """Let no container start as root; true where runAsUser is set."""
    fs_group: Annotated[int, Field(ge=0, le=MAX_ID)] | None = None
    """Group that volumes are given to."""
    fs_group_change_policy: Literal["Always", "OnRootMismatch"] | None = None
    """When a volume's files are given to fsGroup: at each start, or where its folder is another group's."""
    supplemental_groups: Annotated[tuple[Annotated[int, Field(ge=0, le=MAX_ID)], ...], Field(max_length=16)] = ()
    """Further groups of all containers."""
    read_only_root_filesystem: bool | None = None
    """Let the engine write to its volumes only; its home and /tmp are a volume of the pod's own."""

    @property
    def moves_home(self) -> bool:
        """Whether the engine cannot write where root's image has its home."""
        return self.run_as_user is not None or bool(self.run_as_non_root) or bool(self.read_only_root_filesystem)


class TemplateSpec(ApiModel):
    """A bounded overlay on the generated pod."""

    labels: LabelMap = Field(default_factory=dict)
    """Labels added to the pods."""
    annotations: Annotated[dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=4096)]], Field(max_length=32)] = (
        Field(default_factory=dict)
    )
    """Annotations added to the pods."""
    env: Annotated[tuple[EnvVar, ...], _named_list(64)] = ()
    """Environment of the engine."""
    volumes: Annotated[tuple[Volume, ...], _named_list(16)] = ()
    """Volumes mounted into the engine's container."""
    resources: TemplateResources | None = None
    """CPU and host memory, upward only."""
    sidecars: Annotated[tuple[Sidecar, ...], _named_list(4)] = ()
    """Further containers."""
    service_account_name: Name | None = None
    """ServiceAccount of the pods; the FitPolicy must list it."""
    security_context: PodSecurity | None = None
    """As whom the pods' processes run."""
    image_pull_secrets: Annotated[tuple[Name, ...], Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})] = ()
    """Pull secrets of the pods."""
    startup_probe: ProbeTuning | None = None
    """How long the engine may take to start: periodSeconds times failureThreshold; absent, as the plan predicts."""
    liveness_probe: ProbeTuning | None = None
    """When an engine that serves is taken for dead."""
    readiness_probe: ProbeTuning | None = None
    """When requests are no longer sent to it."""
    lifecycle: Lifecycle | None = None
    """What the engine's container does before it is stopped."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=MOST_SECONDS)] | None = None
    """How long a pod may take to end; absent, as the plan says."""
    topology_spread_constraints: Annotated[tuple[TopologySpread, ...], Field(max_length=8)] = ()
    """How the replicas are spread."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!has(self.labels) || !self.labels.exists(key, key.startsWith('{OWNED_PREFIX}') || key in {_cel(OWNED_LABELS)})",
            holds=lambda t: not any(key.startswith(OWNED_PREFIX) or key in OWNED_LABELS for key in t.labels),
            message="labels that say whose the pods are belong to the plan",
            field=".labels",
        ),
        Rule(
            cel=f"!has(self.annotations) || !self.annotations.exists(key, key.startsWith('{OWNED_PREFIX}'))",
            holds=lambda t: not any(key.startswith(OWNED_PREFIX) for key in t.annotations),
            message=f"annotations of {OWNED_PREFIX} belong to the plan",
            field=".annotations",
        ),
        keys_rule("labels", lambda t: t.labels),
        keys_rule("annotations", lambda t: t.annotations, ANNOTATION_KEY),
        Rule(cel="true", holds=lambda t: _unique(t.image_pull_secrets), message="a name is given twice", field=".imagePullSecrets"),
        Rule(cel="true", holds=lambda t: _unique([e.name for e in t.env]), message="a name is given twice", field=".env"),
        Rule(cel="true", holds=lambda t: _unique([v.name for v in t.volumes]), message="a name is given twice", field=".volumes"),
        Rule(cel="true", holds=lambda t: _unique([s.name for s in t.sidecars]), message="a name is given twice", field=".sidecars"),
    )
