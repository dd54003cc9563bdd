"""Containers of the pod beside the engine, and what all of its containers have: variables, resources, ports, mounts and probes.

Parts of `spec.template`, as in a pod and no more of them. What they say of one another (names, ports, mounts) the decision checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from plimsoll_operator.api.base import ApiModel, CpuText, FileKey, ImagePullPolicy, MemoryText, Name, Rule, exactly_one
from plimsoll_operator.api.pod_life import ExecAction, ProbeTuning

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

ENGINE_CONTAINER: Final = "vllm"
MAX_ID: Final = (1 << 31) - 1
PART_NAME: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
"""Names of containers and volumes."""
MountPath = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^/[^:]*$")]
SubPath = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^/].*$")]
Port = Annotated[int, Field(ge=1, le=65535)]


def cel_list(names: tuple[str, ...]) -> str:
    """Texts as CEL writes a list of them."""
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


def unique(names: Sequence[str]) -> bool:
    """Whether no name is given twice."""
    return len(set(names)) == len(names)


def named_list(most: int) -> Any:
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


class FieldRef(ApiModel):
    """A field of the pod."""

    field_path: Literal[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.podIP",
        "status.podIPs",
    ]
    """Which."""


class EnvVarSource(ApiModel):
    """Where a variable's value comes from: exactly one."""

    secret_key_ref: KeySelector | None = None
    """A Secret's key."""
    config_map_key_ref: KeySelector | None = None
    """A ConfigMap's key."""
    field_ref: FieldRef | None = None
    """A field of the pod itself, such as its IP or name."""

    RULES: ClassVar[tuple[Rule, ...]] = (exactly_one("secretKeyRef", "configMapKeyRef", "fieldRef"),)


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
            cel=f"!(self.name in {cel_list(OWNED_ENV)})",
            holds=lambda e: e.name not in OWNED_ENV,
            message="the plan sets this variable or counts on its default: leave it out"
            " (a hub token is named by spec.model.source.huggingFace.tokenSecretRef)",
            field=".name",
        ),
        Rule(
            cel="!(has(self.value) && has(self.valueFrom))",
            holds=lambda e: e.value is None or e.value_from is None,
            message="value and valueFrom exclude each other",
            field=".valueFrom",
        ),
    )


class ResourceLimits(ApiModel):
    """What a container may take at most."""

    cpu: CpuText | None = None
    """CPU."""
    memory: MemoryText | None = None
    """Host memory; a container that takes more is ended."""


class TemplateResources(ApiModel):
    """Requests of a container; those of the engine's can raise what was computed, never lower it."""

    cpu: CpuText | None = None
    """CPU."""
    memory: MemoryText | None = None
    """Host memory."""
    limits: ResourceLimits | None = None
    """What it may take at most; the engine's are raised to what it asks for."""


class HttpGet(ApiModel):
    """A request by HTTP."""

    path: Annotated[str, Field(max_length=1024, pattern=r"^/")] = "/"
    """Its path."""
    port: Port
    """Port of the container."""
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    """Plain or by TLS."""


class TcpSocket(ApiModel):
    """A connection."""

    port: Port
    """Port of the container."""


class Probe(ProbeTuning):
    """How the kubelet asks a container beside the engine: exactly one of httpGet, tcpSocket and exec."""

    http_get: HttpGet | None = None
    """By a request."""
    tcp_socket: TcpSocket | None = None
    """By a connection."""
    exec: ExecAction | None = None
    """By a program of its image."""
    initial_delay_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    """Seconds before the first question."""

    RULES: ClassVar[tuple[Rule, ...]] = (exactly_one("httpGet", "tcpSocket", "exec"),)


class ContainerPort(ApiModel):
    """A port that a container listens on."""

    name: Annotated[str, Field(min_length=1, max_length=15, pattern=r"^[a-z]([a-z0-9]|-[a-z0-9])*$")]
    """Name, none other's in the pod."""
    container_port: Port
    """The port; the engine's is the engine's own."""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    """Protocol."""


class ContainerMount(ApiModel):
    """Where a container sees a volume of spec.template."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=PART_NAME)]
    """Name of the volume."""
    mount_path: MountPath
    """Where."""
    sub_path: SubPath | None = None
    """A folder or file of the volume instead of all of it."""
    read_only: bool = False
    """Not to be written to."""


class ContainerSecurity(ApiModel):
    """As whom a container runs, where it differs from the pod. No privilege escalation and no capabilities in any."""

    run_as_user: Annotated[int, Field(ge=1, le=MAX_ID)] | None = None
    """User, not root."""
    run_as_group: Annotated[int, Field(ge=0, le=MAX_ID)] | None = None
    """First group."""
    run_as_non_root: bool | None = None
    """Do not start as root."""
    read_only_root_filesystem: bool | None = None
    """Let it write to volumes only."""


class Sidecar(ApiModel):
    """A further container beside the engine."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=PART_NAME)]
    """Container name."""
    image: Annotated[str, Field(min_length=1, max_length=512)]
    """Container image."""
    image_pull_policy: ImagePullPolicy | None = None
    """When the image is pulled."""
    command: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=32)] = ()
    """Program instead of the image's own."""
    args: Annotated[tuple[Annotated[str, Field(max_length=512)], ...], Field(max_length=32)] = ()
    """Arguments."""
    env: Annotated[tuple[EnvVar, ...], named_list(32)] = ()
    """Environment."""
    resources: TemplateResources | None = None
    """Requests."""
    ports: Annotated[tuple[ContainerPort, ...], named_list(16)] = ()
    """Ports that it listens on."""
    volume_mounts: Annotated[tuple[ContainerMount, ...], Field(max_length=16)] = ()
    """Volumes of spec.template that it sees."""
    startup_probe: Probe | None = None
    """Whether it has started."""
    liveness_probe: Probe | None = None
    """Whether it lives."""
    readiness_probe: Probe | None = None
    """Whether it is ready; a pod is when all of its containers are."""
    security_context: ContainerSecurity | None = None
    """As whom it runs, where that is not the pod's."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"self.name != '{ENGINE_CONTAINER}'",
            holds=lambda s: s.name != ENGINE_CONTAINER,
            message="the engine's container has this name",
            field=".name",
        ),
        Rule(cel="true", holds=lambda s: unique([e.name for e in s.env]), message="a name is given twice", field=".env"),
        Rule(cel="true", holds=lambda s: unique([p.name for p in s.ports]), message="a name is given twice", field=".ports"),
    )


class InitContainer(Sidecar):
    """A container that runs before the engine; with restartPolicy Always a sidecar that starts before it and runs beside it."""

    restart_policy: Literal["Always"] | None = None
    """Always: it runs on beside the engine."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        *Sidecar.RULES,
        Rule(
            cel="has(self.restartPolicy) || !(has(self.startupProbe) || has(self.livenessProbe) || has(self.readinessProbe))",
            holds=lambda s: s.restart_policy is not None or not (s.startup_probe or s.liveness_probe or s.readiness_probe),
            message="a container that ends before the engine starts has no probes: restartPolicy Always makes it a sidecar",
        ),
    )
