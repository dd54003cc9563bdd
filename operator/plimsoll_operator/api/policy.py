"""FitPolicy and EngineCalibration: what administrators allow, and what running engines taught.

Read by `gather` and the decision. `default` holds where no policy's namespaceSelector matches.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from plimsoll_operator.api.base import (
    IMAGE_REFERENCE,
    ApiModel,
    ByteQuantity,
    Conditions,
    CsiDriver,
    LabelKey,
    Name,
    NamespaceName,
    ObjectMeta,
    ProductName,
    Rule,
    ShortText,
    StatusModel,
)
from plimsoll_operator.api.inference_deployment import MovableField
from plimsoll_operator.api.selector import LabelSelector
from plimsoll_operator.names import API_VERSION

MOST_EXTRAPOLATED_MINORS: Final = 16
"""Minors beyond the newest known vLLM release that a FitPolicy may at most let be extrapolated."""
ImagePrefix = Annotated[str, Field(min_length=1, max_length=256, pattern=IMAGE_REFERENCE)]


CauseOfDoubt = Literal["experts", "delta_net", "encoder", "several_gpus", "v2_cold", "v2", "v1_cold", "v1"]
"""The estimator's own words (`overhead.intervals`)."""


class CalibrationTrust(ApiModel):
    """Whose starts may correct constants."""

    namespaces: Annotated[tuple[NamespaceName, ...], Field(max_length=256)] = ()
    """Namespaces whose starts count; none by default."""
    mode: Literal["Off", "Apply"] = "Off"
    """Off ignores EngineCalibrations."""


class FitPolicySpec(ApiModel):
    """What administrators allow."""

    namespace_selector: LabelSelector | None = None
    """Namespaces this policy holds for; required unless the policy is named default."""
    mode: Literal["Enforce", "Warn"] = "Enforce"
    """Enforce refuses what does not fit; Warn turns a rejection into a warning."""
    capacity: Literal["Closed", "Open"] = "Closed"
    """Closed: what fits no known pool is rejected. Open: it is undecided, as the cluster may be given such GPUs."""
    unknown_model: Literal["Undecided", "Deny"] = "Undecided"
    """What happens to what cannot be decided: pass with a warning and without pods, or be refused."""
    allowed_moves: Annotated[tuple[MovableField, ...], Field(max_length=8)] | None = None
    """Fields that mayChange may name; absent allows all."""
    max_gpus_per_namespace: Annotated[int, Field(ge=0, le=1000000)] | None = None
    """Most GPUs of all InferenceDeployments of a namespace."""
    max_predicted_gib_per_namespace: Annotated[int, Field(ge=0, le=1 << 40)] | None = None
    """Most predicted GPU memory of a namespace, in GiB."""
    max_gpus_per_replica: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Most GPUs of one replica."""
    reserve_bytes: ByteQuantity = 0
    """Bytes left free on each GPU, at least; an InferenceDeployment may ask for more."""
    calibration_trust: CalibrationTrust = Field(default_factory=CalibrationTrust)
    """Whose starts may correct constants."""
    max_extrapolated_minors: Annotated[int, Field(ge=0, le=MOST_EXTRAPOLATED_MINORS)] = 1
    """How many minors beyond the newest known vLLM release may be extrapolated."""
    allowed_service_accounts: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    """ServiceAccounts that template.serviceAccountName may name."""
    allowed_images: Annotated[tuple[ImagePrefix, ...], Field(max_length=64)] = ()
    """Where container images of engine and sidecars may come from: registries, folders or repositories, also with a tag or digest, for
    example ghcr.io/acme or docker.io/vllm/vllm-openai; empty allows all."""
    allowed_priority_classes: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    """PriorityClasses that placement.priorityClassName may name; empty allows all."""
    allowed_tolerations: Annotated[tuple[LabelKey, ...], Field(max_length=64)] = ()
    """Taint keys that placement.tolerations may name; empty allows all."""
    allowed_csi_drivers: Annotated[tuple[CsiDriver, ...], Field(max_length=64)] = ()
    """CSI drivers that volumes of template.volumes may name: what a driver does is its own; empty allows none."""
    code_loading: Literal["Allow", "Deny"] = "Allow"
    """Deny refuses arguments, variables and mounts that make the engine run code from outside its image."""
    host_network: Literal["Deny", "Allow"] = "Deny"
    """Allow lets pods have their node's network (template.hostNetwork): its addresses, its ports, and what is reached from it."""
    unruled_flags: Literal["Refuse", "Reserve"] = "Refuse"
    """What happens to arguments of vLLM whose memory has no rule. Reserve lets them through with a warning: intervals double, and the
    pessimistic end is what counts."""


class FitPolicyStatus(StatusModel):
    """What the controller found about a policy."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation the rest speaks of."""
    conditions: Conditions = ()
    """Accepted."""


class FitPolicy(ApiModel):
    """What administrators allow, in all namespaces or selected ones."""

    api_version: Literal["inference.plimsoll.dev/v1alpha1"] = API_VERSION
    kind: Literal["FitPolicy"] = "FitPolicy"
    metadata: ObjectMeta
    spec: FitPolicySpec
    """The policy."""
    status: FitPolicyStatus | None = None
    """What was found about it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(self.metadata.name == 'default') != has(self.spec.namespaceSelector)",
            holds=lambda p: (p.metadata.name == "default") != (p.spec.namespace_selector is not None),
            message="every policy but the one named default needs a namespaceSelector, and default has none",
            field=".spec.namespaceSelector",
        ),
    )


class Evidence(ApiModel):
    """One start that a correction rests on."""

    model: ShortText
    """Model that started."""
    namespace: ShortText
    """Namespace it started in."""
    predicted_bytes: Annotated[int, Field(ge=0, le=1 << 50)]
    """Bytes of the component that were predicted, without any correction."""
    observed_bytes: Annotated[int, Field(ge=0, le=1 << 50)]
    """Bytes of the component that the engine reported."""


class Correction(ApiModel):
    """Bytes added to one component."""

    engine_minor: Annotated[str, Field(max_length=9, pattern=r"^[0-9]{1,4}[.][0-9]{1,4}$")]
    """vLLM minor, for example 0.19."""
    product: ProductName | None = None
    """GPU product; absent holds for all."""
    interconnect: Literal["none", "nvlink", "pcie", "network"] | None = None
    """Holds for engines whose GPUs are connected so: none is an engine of one GPU; absent holds for all."""
    cause_of_doubt: CauseOfDoubt | None = None
    """Holds for estimates that are most in doubt of this; absent holds for all."""
    component: Literal["weights", "activation", "cudaGraphs", "nonTorch", "outsideBudget"]
    """Component that is corrected."""
    add_bytes: Annotated[int, Field(ge=-(1 << 40), le=1 << 40)]
    """Bytes added to the need; negative lowers it, and 0 is a correction whose evidence is still being gathered."""
    evidence: Annotated[tuple[Evidence, ...], Field(max_length=64)] = ()
    """Starts it rests on."""


class EngineCalibrationSpec(ApiModel):
    """Learned corrections."""

    corrections: Annotated[tuple[Correction, ...], Field(max_length=256)] = ()
    """The corrections; an empty list resets."""


class EngineCalibrationStatus(StatusModel):
    """What the controller found about a calibration."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation the rest speaks of."""
    conditions: Conditions = ()
    """Applied."""


class EngineCalibration(ApiModel):
    """Corrections of the estimate that running engines taught, with their evidence."""

    api_version: Literal["inference.plimsoll.dev/v1alpha1"] = API_VERSION
    kind: Literal["EngineCalibration"] = "EngineCalibration"
    metadata: ObjectMeta
    spec: EngineCalibrationSpec = Field(default_factory=EngineCalibrationSpec)
    """The corrections."""
    status: EngineCalibrationStatus | None = None
    """What was found about them."""
