"""No answer to one tenant holds another namespace's figures, or names of what is in it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import FilesForReviews
from tests.plimsoll_operator.nodes import L4
from tests.plimsoll_operator.shared_cards import SLICED, SMALL
from tests.plimsoll_operator.webhook_world import manifest, policy, review

from plimsoll_estimator.catalogue import lookup
from plimsoll_operator.api import GPUPool, ModelProfile, parse_object
from plimsoll_operator.decision import decide
from plimsoll_operator.facts import DeploymentUse
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.webhook.judge import judge
from plimsoll_operator.webhook.review import parse_review, render_review

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
THEIRS = re.compile(r"theirs|secret|7919|104729")
FOREIGN_GPUS, THEIR_GPUS = 7919, 104729


def profile(namespace: str, name: str, model: str, **keys: Any) -> ModelProfile:
    base = lookup(LLAMA)
    assert base is not None
    metadata = {"namespace": namespace, "name": name, "annotations": {"inference.plimsoll.dev/notes": f"notes of {namespace}"}}
    spec = {"model": model, "config": json.dumps({**base.as_mapping(), **keys})}
    return parse_object(ModelProfile, {"apiVersion": API_VERSION, "kind": "ModelProfile", "metadata": metadata, "spec": spec})


class TwoTenants(FilesForReviews):
    """Theirs has profiles, deployments and pods on shared cards; ours asks."""

    def uses(self, namespace: str) -> dict[str, DeploymentUse]:
        if namespace == "theirs":
            return {"secret-app": DeploymentUse(replicas=THEIR_GPUS, gpus_per_replica=1, predicted_bytes_per_gpu=1 << 30)}
        return {"other": DeploymentUse(replicas=1, gpus_per_replica=1, predicted_bytes_per_gpu=1 << 30)}


def with_strangers(pool: GPUPool) -> GPUPool:
    assert pool.status is not None
    return pool.model_copy(update={"status": pool.status.model_copy(update={"foreign_gpus": FOREIGN_GPUS})})


def world() -> TwoTenants:
    store = TwoTenants(
        SLICED,
        L4,
        profiles=[
            profile("theirs", "secret-project", "acme/shared-name"),
            profile("ours", "own", "acme/shared-name"),
            profile("theirs", "secret-hidden", "acme/only-there", hidden_size=104729 * 128),
            profile("theirs", "secret-draft", "acme/draft"),
        ],
        policies=[policy(maxGpusPerNamespace=3)],
    )
    store.pools = [with_strangers(pool) for pool in store.pools]
    return store


def wish(namespace: str, **spec: Any) -> dict[str, Any]:
    found = manifest(**spec)
    found["metadata"]["namespace"] = namespace
    return found


ENGINE = {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 2048}
WISHES: list[tuple[str, dict[str, Any]]] = [
    ("what strangers hold of shared cards", {"model": {"name": SMALL}, "placement": {"sharing": "time-slicing"}}),
    ("a cap", {"model": {"name": SMALL}, "replicas": 9}),
    ("their profile by its name", {"model": {"name": "acme/only-there", "profile": {"name": "hidden"}}}),
    ("their model", {"model": {"name": "acme/only-there"}}),
    ("a model that both have described", {"model": {"name": "acme/shared-name"}}),
    ("their draft", {"engine": ENGINE | {"speculative": {"model": "acme/draft", "numSpeculativeTokens": 2}}}),
    ("no pool that matches", {"placement": {"gpuProducts": ["NVIDIA-H200"]}}),
    ("too much", {"engine": ENGINE | {"maxModelLen": 131072}, "placement": {"sharing": "time-slicing"}}),
]


def said(store: TwoTenants, obj: dict[str, Any], namespace: str, **more: Any) -> str:
    found = parse_review(json.dumps(review(obj, namespace=namespace, **more)).encode())
    return render_review(found, judge(found, store, decide)).decode()


@pytest.mark.parametrize(("why", "spec"), WISHES, ids=[why for why, _ in WISHES])
def test_an_answer_holds_nothing_of_theirs(why: str, spec: dict[str, Any]) -> None:
    """Also right after they have asked the very same: what is remembered is told to whoever asks the same."""
    store = world()
    said(store, wish("theirs", **spec), "theirs")
    assert not THEIRS.search(said(store, wish("ours", **spec), "ours")), why


def test_strangers_on_shared_cards_are_spoken_of_without_their_number() -> None:
    answer = said(world(), wish("ours", **WISHES[0][1]), "ours")
    assert "pods that are not planned here hold time-sliced GPUs of pool" in answer


def test_a_cap_speaks_of_the_askers_own_gpus() -> None:
    answer = said(world(), wish("ours", **WISHES[1][1]), "ours")
    assert "9 replicas bring the namespace to 10 GPUs, the FitPolicy allows 3" in answer


def test_a_refused_scale_holds_nothing_of_theirs() -> None:
    scale = {"spec": {"replicas": 9}}
    answer = said(world(), scale, "ours", old={"spec": {"replicas": 1}}, sub="scale", name="other")
    assert "the FitPolicy allows 3" in answer
    assert not THEIRS.search(answer)
