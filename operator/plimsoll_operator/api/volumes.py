"""Volumes of `spec.template` and where the engine sees them: safe kinds, and not where the plan keeps its own. Read by rendering."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from plimsoll_operator.api.base import ApiModel, CsiDriver, ImagePullPolicy, ImageReference, MemoryText, Name, Rule, exactly_one
from plimsoll_operator.api.containers import PART_NAME, MountPath, SubPath, cel_list
from plimsoll_operator.pod import CACHE_MOUNT, HOME_CACHE_MOUNT, SHARED_MEMORY_MOUNT, WEIGHTS_MOUNT

OWNED_VOLUMES: Final = ("hub-cache", "shm", "weights")
OWNED_PATHS: Final = (SHARED_MEMORY_MOUNT, WEIGHTS_MOUNT, CACHE_MOUNT)
_Key = Annotated[str, Field(max_length=256)]
_Value = Annotated[str, Field(max_length=1024)]


def clashes(path: str) -> bool:
    """At one of the plan's mounts, below it, or above it, where it would hide what is there."""
    return any(path == own or path.startswith(f"{own}/") or own.startswith(f"{path.rstrip('/')}/") for own in OWNED_PATHS)


class EmptyDirVolume(ApiModel):
    """Scratch space on the node."""

    size_limit: MemoryText | None = None
    """Largest size."""
    medium: Literal["Memory"] | None = None
    """Memory: files lie in host memory, and the size limit counts in what the pod asks for."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.medium) || has(self.sizeLimit)",
            holds=lambda e: e.medium is None or e.size_limit is not None,
            message="files in memory need a sizeLimit, which is what the pod asks for",
            field=".sizeLimit",
        ),
    )


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


class CsiVolume(ApiModel):
    """A volume that a CSI driver makes for the pod and takes away with it."""

    driver: CsiDriver
    """Name of the driver; the FitPolicy must list it."""
    read_only: bool = False
    """Mount read-only."""
    fs_type: Annotated[str, Field(max_length=32)] | None = None
    """File system."""
    volume_attributes: Annotated[dict[_Key, _Value], Field(max_length=32)] = Field(default_factory=dict)
    """What the driver is told."""
    node_publish_secret_ref: NamedVolume | None = None
    """Secret that the driver is given."""


class ImageVolume(ApiModel):
    """An OCI image or artifact as files. Kubernetes 1.35 and later."""

    reference: ImageReference
    """The image, as a container's is written."""
    pull_policy: ImagePullPolicy | None = None
    """When it is pulled; absent: Always for the tag latest, else IfNotPresent."""


class Volume(ApiModel):
    """A volume of one of the safe kinds."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=PART_NAME)]
    """Name in the pod."""
    mount_path: MountPath
    """Where the engine's container sees it. A claim may be where the engine keeps what it downloads: /root/.cache/huggingface."""
    sub_path: SubPath | None = None
    """A folder or file of the volume instead of all of it."""
    empty_dir: EmptyDirVolume | None = None
    """Scratch space."""
    config_map: NamedVolume | None = None
    """A ConfigMap."""
    secret: NamedVolume | None = None
    """A Secret."""
    persistent_volume_claim: ClaimVolume | None = None
    """A claim."""
    csi: CsiVolume | None = None
    """A volume of a CSI driver's."""
    image: ImageVolume | None = None
    """An OCI image or artifact, mounted read-only; nothing in it is run."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        exactly_one("emptyDir", "configMap", "secret", "persistentVolumeClaim", "csi", "image"),
        Rule(
            cel=f"!(self.name in {cel_list(OWNED_VOLUMES)})",
            holds=lambda v: v.name not in OWNED_VOLUMES,
            message="the plan owns a volume of this name",
            field=".name",
        ),
        Rule(
            cel=(
                f"(self.mountPath == '{CACHE_MOUNT}' && has(self.persistentVolumeClaim) && !self.persistentVolumeClaim.readOnly)"
                f" || !{cel_list(OWNED_PATHS)}.exists(own, self.mountPath == own || self.mountPath.startsWith(own + '/')"
                " || own.startsWith(self.mountPath + (self.mountPath.endsWith('/') ? '' : '/')))"
            ),
            holds=lambda v: v.keeps_the_hub_s_cache or not clashes(v.mount_path),
            message="the plan mounts something here",
            field=".mountPath",
        ),
    )

    @property
    def keeps_the_hub_s_cache(self) -> bool:
        """A claim in place of the plan's own volume for what the engine downloads: it outlives the pod."""
        claim = self.persistent_volume_claim
        return self.mount_path in (CACHE_MOUNT, HOME_CACHE_MOUNT) and claim is not None and not claim.read_only

    @property
    def in_memory(self) -> bool:
        """Whether its files take host memory."""
        return self.empty_dir is not None and self.empty_dir.medium is not None
