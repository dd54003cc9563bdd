"""The bounded overlay on the generated pod: labels, annotations, variables, safe volumes, containers, how it lives and where it goes.

Read by rendering. What is not listed here cannot be set: host paths, privilege, GPU resources; `forbidden` says what to do instead.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from plimsoll_operator.api.affinity import Affinity
from plimsoll_operator.api.base import ANNOTATION_KEY, ApiModel, ImagePullPolicy, LabelMap, MemoryText, Name, Rule, keys_rule, text_quantity
from plimsoll_operator.api.containers import (
    MAX_ID,
    EnvVar,
    InitContainer,
    Sidecar,
    TemplateResources,
    cel_list,
    named_list,
    unique,
)
from plimsoll_operator.api.pod_life import MOST_SECONDS, Lifecycle, ProbeTuning, TopologySpread
from plimsoll_operator.api.volumes import Volume
from plimsoll_operator.names import APP_NAME_LABEL, GROUP, INSTANCE_LABEL, MANAGED_LABEL

OWNED_LABELS: Final = (INSTANCE_LABEL, MANAGED_LABEL, APP_NAME_LABEL)
OWNED_PREFIX: Final = f"{GROUP}/"
_PART: Final = "[A-Za-z0-9][-A-Za-z0-9_.]{0,61}"
_NETWORKS: Final = "(rdma|mellanox[.]com|networking[.]gke[.]io[.]networks)/"
DEVICE: Final = f"^({_NETWORKS}{_PART}|vpc[.]amazonaws[.]com/efa|hugepages-(2Mi|1Gi))$"
_DeviceName = Annotated[str, Field(max_length=128)]
_COUNT: Final = r"^[0-9]{1,9}(Mi|Gi)?$"
_DeviceCount = Annotated[
    str,
    Field(max_length=16, pattern=_COUNT),
    BeforeValidator(text_quantity),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": _COUNT, "maxLength": 16, "minimum": 0, "maximum": 999_999_999}),
]


class EngineResources(TemplateResources):
    """What the engine's container asks for beside what was computed."""

    devices: Annotated[dict[_DeviceName, _DeviceCount], Field(max_length=8)] = Field(default_factory=dict)
    """Network devices and huge pages by resource name, request and limit in one: rdma/*, vpc.amazonaws.com/efa, hugepages-2Mi. GPUs are the
    plan's."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!has(self.devices) || self.devices.all(key, key.matches('{DEVICE}'))",
            holds=lambda r: all(re.fullmatch(DEVICE, key) for key in r.devices),
            message="must be network devices or huge pages: rdma/*, mellanox.com/*, vpc.amazonaws.com/efa, networking.gke.io.networks/*,"
            " hugepages-2Mi, hugepages-1Gi; GPUs are the plan's",
            field=".devices",
        ),
    )


class Capabilities(ApiModel):
    """What the engine may do beside what every process may."""

    add: Annotated[tuple[Literal["IPC_LOCK"], ...], Field(max_length=1, json_schema_extra={"x-kubernetes-list-type": "set"})] = ()
    """IPC_LOCK: keep memory from being swapped, as RDMA needs it. Pod Security's baseline has it not."""


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
    capabilities: Capabilities | None = None
    """Of the engine's container."""

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
    env: Annotated[tuple[EnvVar, ...], named_list(64)] = ()
    """Environment of the engine."""
    volumes: Annotated[tuple[Volume, ...], named_list(16)] = ()
    """Volumes mounted into the engine's container."""
    resources: EngineResources | None = None
    """CPU and host memory, upward only; network devices."""
    sidecars: Annotated[tuple[Sidecar, ...], named_list(4)] = ()
    """Further containers."""
    init_containers: Annotated[tuple[InitContainer, ...], named_list(4)] = ()
    """Containers that run before the engine; with restartPolicy Always beside it too, started before and stopped after it."""
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
    affinity: Affinity | None = None
    """What draws pods to nodes and to one another, beside what the plan requires."""
    host_network: bool | None = None
    """Let the pods have their node's network instead of one of their own; the FitPolicy must allow it. Each takes the engine's port, and
    those of its other containers, of its node."""
    runtime_class_name: Name | None = None
    """RuntimeClass of the pods, such as nvidia where that is not the nodes' default."""
    image_pull_policy: ImagePullPolicy | None = None
    """When the engine's image is pulled."""
    shared_memory_size: MemoryText | None = None
    """Size of /dev/shm, upward only: a limit, which counts nothing until it is used."""

    @property
    def has_sidecars(self) -> bool:
        """Whether anything runs beside the engine."""
        return bool(self.sidecars) or any(one.restart_policy is not None for one in self.init_containers)

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!has(self.labels) || !self.labels.exists(key, key.startsWith('{OWNED_PREFIX}') || key in {cel_list(OWNED_LABELS)})",
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
        Rule(cel="true", holds=lambda t: unique(t.image_pull_secrets), message="a name is given twice", field=".imagePullSecrets"),
        Rule(cel="true", holds=lambda t: unique([e.name for e in t.env]), message="a name is given twice", field=".env"),
        Rule(cel="true", holds=lambda t: unique([v.name for v in t.volumes]), message="a name is given twice", field=".volumes"),
        Rule(cel="true", holds=lambda t: unique([s.name for s in t.sidecars]), message="a name is given twice", field=".sidecars"),
        Rule(
            cel="true",
            holds=lambda t: unique([c.name for c in t.init_containers]),
            message="a name is given twice",
            field=".initContainers",
        ),
    )
