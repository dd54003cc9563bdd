"""ModelProfile and ClusterModelProfile: a model's shape. Its config.json and header totals, never its weights.

Read by `gather` (from the cache) and written by the controller, users and the catalogue. The config is a JSON text, so
that no API server prunes or reorders it; it is parsed by the estimator, never here.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from plimsoll_operator.api.base import (
    ApiModel,
    Bytes,
    Conditions,
    ModelName,
    ObjectMeta,
    Revision,
    Rule,
    ShortText,
    StatusModel,
    Timestamp,
    exactly_one,
)
from plimsoll_operator.api.model_source import ConfigMapKeyRef, ImageFolder, PersistentVolumeClaimSource
from plimsoll_operator.names import API_VERSION


class WeightsByDtype(ApiModel):
    """Bytes of all tensors of one dtype."""

    dtype: Annotated[str, Field(min_length=1, max_length=32)]
    """Type as the safetensors headers spell it, for example BF16."""
    bytes: Bytes
    """Bytes of these tensors."""


class ProfileWeights(ApiModel):
    """Totals of the checkpoint's safetensors headers."""

    total_bytes: Bytes
    """Bytes of all tensors."""
    by_dtype: Annotated[
        tuple[WeightsByDtype, ...],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["dtype"]}),
    ] = ()
    """The same by dtype."""


class ProfileOrigin(ApiModel):
    """The object of the namespace that the shape was read from: exactly one of the fields."""

    config_map_ref: ConfigMapKeyRef | None = None
    """A ConfigMap that holds the model's config.json."""
    persistent_volume_claim: PersistentVolumeClaimSource | None = None
    """A volume that holds the checkpoint."""
    image: ImageFolder | None = None
    """An OCI image that holds it."""

    CLOSED: ClassVar[bool] = True
    RULES: ClassVar[tuple[Rule, ...]] = (exactly_one("configMapRef", "persistentVolumeClaim", "image"),)


class ModelProfileSpec(ApiModel):
    """A model's shape."""

    model: ModelName
    """The model this is the shape of. Another model is another profile."""
    revision: Revision | None = None
    """Commit the shape was read at; absent answers for every revision."""
    requested_revision: Revision | None = None
    """Branch, tag or commit that was asked for when `revision` was read: the profile answers for it alone, beside the commit itself."""
    config: Annotated[str, Field(min_length=2, max_length=65536)]
    """config.json as JSON text of at most 64 KiB: what moves memory."""
    weights: ProfileWeights | None = None
    """Totals of the safetensors headers, where known."""
    source: Annotated[str, Field(max_length=256)] | None = None
    """How the shape was obtained: catalogue, hub, inline, configMap, volume, image."""
    obtained_at: Timestamp | None = None
    """When."""
    digest: Annotated[str, Field(max_length=128)] | None = None
    """Digest of config and totals as its writer computed it."""
    origin: ProfileOrigin | None = None
    """Set: the shape answers only for deployments that use this ConfigMap, volume or image. Absent: for those that load from the hub."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.model == oldSelf.model",
            holds=lambda _: True,
            message="model cannot change: another model is another profile",
            field=".model",
            transition=True,
        ),
    )


def _is_of_no_namespace(profile: ClusterModelProfile) -> bool:
    return profile.spec.origin is None


class ModelProfileStatus(StatusModel):
    """What the controller found about a profile."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation the rest speaks of."""
    conditions: Conditions = ()
    """ModelResolved."""
    digest: ShortText | None = None
    """Digest of config and totals as computed here."""
    architecture: ShortText | None = None
    """First entry of the config's architectures."""


class ModelProfile(ApiModel):
    """A model's shape, valid in its namespace."""

    api_version: Literal["inference.plimsoll.dev/v1alpha1"] = API_VERSION
    kind: Literal["ModelProfile"] = "ModelProfile"
    metadata: ObjectMeta
    spec: ModelProfileSpec
    """The shape."""
    status: ModelProfileStatus | None = None
    """What was found about it."""


class ClusterModelProfile(ApiModel):
    """A model's shape, valid in the whole cluster."""

    api_version: Literal["inference.plimsoll.dev/v1alpha1"] = API_VERSION
    kind: Literal["ClusterModelProfile"] = "ClusterModelProfile"
    metadata: ObjectMeta
    spec: ModelProfileSpec
    """The shape."""
    status: ModelProfileStatus | None = None
    """What was found about it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.spec.origin)",
            holds=_is_of_no_namespace,
            message="origin belongs to a namespace: a ClusterModelProfile has none",
            field=".spec.origin",
        ),
    )
