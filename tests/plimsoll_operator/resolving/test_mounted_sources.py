"""Images and the hub's cache on a claim: what the pod that reads them mounts, and which profile comes of it."""

import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.plimsoll_operator.checkpoints import bytes_of, tiny_tensors, write_checkpoint
from tests.plimsoll_operator.hub_cache import COMMIT, cache_of
from tests.plimsoll_operator.kubelet import MADE, Kubelet

from plimsoll_operator.api import ModelSpec, TemplateSpec
from plimsoll_operator.controller.resolving.fetcher import Fetched, FetchFailure
from plimsoll_operator.controller.resolving.reader_pod import ReaderSettings, pod_name, reader_pod
from plimsoll_operator.controller.resolving.user_rights import UserRights, sweep
from plimsoll_operator.ports import Manifest
from plimsoll_operator.read_request import ByPod, ReadRequest, read_request_of

NOW = datetime.fromisoformat(MADE) + timedelta(seconds=5)
SETTINGS = ReaderSettings(image="plimsoll/operator:test", pull_secrets=("operators",))
IMAGE = "ghcr.io/acme/llama@sha256:" + "0" * 64


def wanted(source: dict[str, Any], *, template: dict[str, Any] | None = None, **model: Any) -> ReadRequest:
    spec = ModelSpec.model_validate({"name": "acme/in-house", "source": source, **model})
    found = read_request_of("team", spec, TemplateSpec.model_validate(template or {}))
    assert found is not None
    return found


def of_image(**more: Any) -> dict[str, Any]:
    return {"image": {"reference": IMAGE, "path": "./models/", **more}}


def of_cache(path: str = "hub") -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": "weights", "path": path, "layout": "HubCache"}}


def fetch(kube: Kubelet, request: ReadRequest) -> Fetched | FetchFailure:
    rights = UserRights(kube=kube, settings=SETTINGS, now=lambda: NOW)
    assert rights.answers(request)
    for _ in range(3):
        found = rights.fetch(request, threading.Event())
        if isinstance(found, Fetched) or found.reason != "Resolving":
            break
    return found


def pod_of(request: ReadRequest) -> Manifest:
    assert isinstance(request.source, ByPod)
    return reader_pod(request, request.source, SETTINGS)


@pytest.fixture
def kube(tmp_path: Path) -> Kubelet:
    write_checkpoint(tmp_path / "image" / "models")
    cache_of(tmp_path / "claim" / "hub")
    found = Kubelet({IMAGE: tmp_path / "image", "weights": tmp_path / "claim"})
    found.claim("team", "weights")
    return found


def test_an_image_becomes_a_profile_of_that_image_and_folder(kube: Kubelet) -> None:
    found = fetch(kube, wanted(of_image()))
    assert isinstance(found, Fetched), found
    assert not found.cluster
    origin = found.spec.origin
    assert origin is not None
    assert origin.image is not None
    assert (origin.image.reference, origin.image.path, origin.persistent_volume_claim) == (IMAGE, "models", None)
    assert found.spec.source == f"image {IMAGE} models"
    assert found.spec.weights is not None
    assert found.spec.weights.total_bytes == bytes_of(tiny_tensors())


def test_the_image_is_mounted_as_data_and_pulled_with_the_namespaces_secrets() -> None:
    request = wanted(of_image(pullPolicy="Always"), template={"imagePullSecrets": ["team-registry", "operators"]})
    spec = pod_of(request)["spec"]
    assert spec["volumes"] == [{"name": "weights", "image": {"reference": IMAGE, "pullPolicy": "Always"}}]
    assert spec["imagePullSecrets"] == [{"name": "operators"}, {"name": "team-registry"}]
    (container,) = spec["containers"]
    assert container["image"] == SETTINGS.image, "nothing of the model's image is run"
    assert container["volumeMounts"] == [{"name": "weights", "mountPath": "/volume", "readOnly": True}]
    assert container["args"][-1] == "--directory=/volume/models"


def test_a_pod_that_must_pull_weights_first_has_an_hour(kube: Kubelet) -> None:
    kube.holds = True
    request = wanted(of_image())
    assert pod_of(request)["spec"]["activeDeadlineSeconds"] == 3600
    assert pod_of(wanted(of_cache()))["spec"]["activeDeadlineSeconds"] == 300

    def after(seconds: int) -> Fetched | FetchFailure:
        rights = UserRights(kube=kube, settings=SETTINGS, now=lambda: datetime.fromisoformat(MADE) + timedelta(seconds=seconds))
        return rights.fetch(request, threading.Event())

    after(0)
    assert (sweep(kube, datetime.fromisoformat(MADE) + timedelta(seconds=4000)), len(kube.made)) == (0, 1)
    waiting, late = after(4000), after(4300)
    assert isinstance(waiting, FetchFailure)
    assert waiting.reason == "Resolving"
    assert isinstance(late, FetchFailure)
    assert (late.reason, "within 4200 seconds" in late.message) == ("Unreachable", True)


def test_other_secrets_are_another_pod_and_the_same_profile() -> None:
    plain, secret = wanted(of_image()), wanted(of_image(), template={"imagePullSecrets": ["team-registry"]})
    assert pod_name(plain) != pod_name(secret)
    assert plain.profile_name == secret.profile_name
    assert plain.profile_name != wanted({"image": {"reference": IMAGE}}).profile_name, "another folder is another reading"


def test_pull_secrets_change_no_reading_of_a_volume() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "weights"}}
    assert wanted(claim) == wanted(claim, template={"imagePullSecrets": ["team-registry"]})


@pytest.mark.thorough
@pytest.mark.parametrize(("revision", "asked"), [(None, "main"), ("v2", "v2"), (COMMIT, COMMIT)])
def test_a_model_in_the_hubs_cache_is_known_at_its_commit(kube: Kubelet, revision: str | None, asked: str) -> None:
    found = fetch(kube, wanted(of_cache(), revision=revision))
    assert isinstance(found, Fetched), found
    assert (found.spec.revision, found.spec.requested_revision) == (COMMIT, asked)
    origin = found.spec.origin
    assert origin is not None
    assert origin.persistent_volume_claim is not None
    claim = origin.persistent_volume_claim
    assert (claim.claim_name, claim.path, claim.layout) == ("weights", "hub", "HubCache")


def test_the_cache_of_a_claim_is_not_its_folder() -> None:
    folder = wanted({"persistentVolumeClaim": {"claimName": "weights", "path": "hub"}}, revision="main")
    assert folder.profile_name != wanted(of_cache()).profile_name


ABSENT = [
    ("a revision that was never fetched", of_cache(), {"revision": "v9"}, "the hub's cache has acme/in-house, and not v9"),
    ("another model", of_cache(), {"name": "acme/other"}, "there is no models--acme--other in the hub's cache"),
    ("HF_HOME instead of the cache in it", of_cache("."), {}, "add hub to the path"),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("why", "source", "model", "words"), ABSENT, ids=[row[0] for row in ABSENT])
def test_what_is_not_in_the_cache_is_said_with_what_to_do(
    kube: Kubelet, why: str, source: dict[str, Any], model: dict[str, Any], words: str
) -> None:
    found = fetch(kube, wanted(source, **model))
    assert isinstance(found, FetchFailure)
    assert (found.reason, words in found.message) == ("NotFound", True), found.message


def test_a_claim_that_is_not_bound_is_no_cache_yet(kube: Kubelet) -> None:
    found = fetch(kube, wanted({"persistentVolumeClaim": {"claimName": "new", "layout": "HubCache"}}))
    assert isinstance(found, FetchFailure)
    assert "there is no PersistentVolumeClaim team/new" in found.message


def test_nobody_reads_a_bucket() -> None:
    model = {"name": "acme/x", "source": {"objectStorage": {"uri": "s3://weights/x"}}, "profile": {"name": "x"}}
    assert read_request_of("team", ModelSpec.model_validate(model)) is None
