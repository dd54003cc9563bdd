"""Nodes, a Store over files and deployments, for the tests of the decision."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tests.plimsoll_operator.nodes import H100, L4, T4, pools_of

from plimsoll_operator import capacity
from plimsoll_operator.api import (
    EngineCalibration,
    FitPolicy,
    GPUPool,
    InferenceDeployment,
    Unreadable,
    parse_inference_deployment,
    parse_object,
)
from plimsoll_operator.capacity import CapacityIndex, corrections_of
from plimsoll_operator.decision import decide
from plimsoll_operator.decision.refusal.changes import apply_patch
from plimsoll_operator.facts import DeploymentUse, Facts, ModelFacts, ModelUnknown, NamespaceUse, PoolFacts
from plimsoll_operator.gather import Store, facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.ports import Manifest
from plimsoll_operator.verdict import Admit, Offer, Plan, Reject, Resize, Undecided, Verdict

LLAMA_8B: Final = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B: Final = "meta-llama/Llama-3.3-70B-Instruct"


class Files:
    """A Store over nodes and profiles, as the command line has it."""

    def __init__(
        self,
        *nodes: Manifest,
        corrections: Iterable[Manifest] = (),
        profiles: Sequence[Any] = (),
        policies: Sequence[FitPolicy | Unreadable] = (),
        calibrations: Sequence[EngineCalibration] = (),
        keys: Iterable[str] = (),
        lws: bool = False,
        held: Mapping[str, DeploymentUse] | None = None,
        protected: bool = False,
    ) -> None:
        index = CapacityIndex(keys, corrections=corrections_of([parse_object(GPUPool, pool) for pool in corrections]))
        for item in nodes:
            index.node_event("ADDED", item)
        self.pools = pools_of(index)
        self.profiles, self.policies, self.learned = profiles, policies, calibrations
        self.held, self.protected, self.lws = held or {}, protected, lws

    def model_profile(self, namespace: str, name: str) -> Any:
        return next((p for p in self.profiles if (p.metadata.namespace, p.metadata.name) == (namespace, name)), None)

    def cluster_model_profile(self, name: str) -> Any:
        return self.model_profile("", name)

    def model_profiles(self, namespace: str, model: str) -> list[Any]:
        return [p for p in self.profiles if p.metadata.namespace == namespace and p.spec.model == model]

    def cluster_model_profiles(self, model: str) -> list[Any]:
        return self.model_profiles("", model)

    def pool_facts(self) -> tuple[PoolFacts, ...]:
        return capacity.offered(self.pools)

    def fit_policies(self) -> Sequence[FitPolicy | Unreadable]:
        return self.policies

    def calibrations(self) -> Sequence[EngineCalibration]:
        return self.learned

    def namespace_labels(self, namespace: str) -> dict[str, str]:
        return {"kubernetes.io/metadata.name": namespace}

    def uses(self, namespace: str) -> Mapping[str, DeploymentUse]:
        return self.held

    def use(self, namespace: str, name: str) -> DeploymentUse | None:
        return self.uses(namespace).get(name)

    def use_beside(self, namespace: str, name: str) -> NamespaceUse:
        return NamespaceUse.of(use for which, use in self.uses(namespace).items() if which != name)

    def serves_leader_worker_sets(self) -> bool:
        return self.lws

    def bypass_is_protected(self) -> bool:
        return self.protected


class FilesForReviews(Files):
    """The same as the webhook has it, which asks whether it can be read."""

    def ready(self) -> bool:
        return True

    def problem(self) -> str:
        return ""


def manifest(model: str = LLAMA_8B, *, version: str = "0.19.0", engine: Mapping[str, Any] | None = None, **spec: Any) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": "InferenceDeployment",
        "metadata": {"name": "x", "namespace": "default"},
        "spec": {"model": {"name": model}, "engine": {"image": f"vllm/vllm-openai:v{version}", **(engine or {})}, **spec},
    }


def deployment(*args: Any, **kwargs: Any) -> InferenceDeployment:
    return parse_inference_deployment(manifest(*args, **kwargs))


def verdict(*args: Any, store: Store | None = None, **kwargs: Any) -> Verdict:
    return decide(facts_for(deployment(*args, **kwargs), store or Files(H100, L4, T4), applied_plan=None))


def admitted(found: Verdict) -> Admit:
    """It, which must be of this kind, as in the three below."""
    assert isinstance(found, Admit), found
    return found


def resized(found: Verdict) -> Resize:
    assert isinstance(found, Resize), found
    return found


def refused(found: Verdict) -> Reject:
    assert isinstance(found, Reject), found
    return found


def undecided(found: Verdict) -> Undecided:
    assert isinstance(found, Undecided), found
    return found


def planned(found: Verdict) -> Plan:
    """The plan of one that fits, as asked or after moving."""
    assert isinstance(found, Admit | Resize), found
    return found.plan


def model_of(facts: Facts) -> ModelFacts:
    """The model's shape, which must be known."""
    assert isinstance(facts.model, ModelFacts), facts.model
    return facts.model


def lack_of(facts: Facts) -> ModelUnknown:
    """Why the model's shape is not known, which it must not be."""
    assert isinstance(facts.model, ModelUnknown), facts.model
    return facts.model


def offered(offer: Offer, *args: Any, store: Store | None = None, **kwargs: Any) -> Verdict:
    """The verdict on the deployment with an offer's patch applied, by way of its manifest as kubectl would."""
    patched = apply_patch(manifest(*args, **kwargs), json.loads(offer.patch_json))
    return decide(facts_for(parse_inference_deployment(patched), store or Files(H100, L4, T4), applied_plan=None))
