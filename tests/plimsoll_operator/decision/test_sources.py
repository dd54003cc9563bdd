"""Weights in images, in the hub's cache on a claim and in buckets: what is counted of them, whose shape answers, and what is refused."""

import json
from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import LLAMA_8B, Files, manifest
from tests.plimsoll_operator.nodes import gpu_node

from plimsoll_estimator import catalogue
from plimsoll_operator.api import ApiError, FitPolicy, InferenceDeployment, ModelProfile, parse_inference_deployment, parse_object
from plimsoll_operator.decision import decide
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import API_VERSION
from plimsoll_operator.verdict import Admit, Reason, Reject, Undecided, Verdict

_ENTRY = catalogue.entry(LLAMA_8B)
assert _ENTRY is not None
CONFIG = json.dumps(_ENTRY.config.as_mapping())
COMMIT = "b" * 40
GIB = 1 << 30
NODE = gpu_node("h", "NVIDIA-H100-80GB-HBM3", 8, 81559)
IMAGE = {"image": {"reference": "ghcr.io/acme/llama:1", "path": "models"}}
CACHE = {"persistentVolumeClaim": {"claimName": "hub", "path": "hub", "layout": "HubCache"}}
FOLDER = {"persistentVolumeClaim": {"claimName": "hub", "path": "hub"}}
BUCKET = {"objectStorage": {"uri": "s3://weights/llama"}}
GIVEN = {"inline": CONFIG}


def wish(source: dict[str, Any], *, version: str = "0.19.0", engine: dict[str, Any] | None = None, **spec: Any) -> InferenceDeployment:
    model = spec.pop("model", {})
    made = manifest(version=version, engine={"maxModelLen": 8192, **(engine or {})}, **spec)
    made["spec"]["model"] |= {"source": source, **model}
    return parse_inference_deployment(made)


def profile(name: str = "p", **spec: Any) -> ModelProfile:
    body = {"apiVersion": API_VERSION, "kind": "ModelProfile", "metadata": {"name": name, "namespace": "default"}}
    return parse_object(ModelProfile, {**body, "spec": {"model": LLAMA_8B, "config": CONFIG, **spec}})


def verdict(source: dict[str, Any], *profiles: ModelProfile, policy: dict[str, Any] | None = None, **more: Any) -> Verdict:
    policies = []
    if policy is not None:
        body = {"apiVersion": API_VERSION, "kind": "FitPolicy", "metadata": {"name": "default"}, "spec": policy}
        policies = [parse_object(FitPolicy, body)]
    return decide(facts_for(wish(source, **more), Files(NODE, profiles=profiles, policies=policies), applied_plan=None))


def admitted(found: Verdict) -> Admit:
    assert isinstance(found, Admit), found
    return found


OF_IMAGE = {"image": {"reference": "ghcr.io/acme/llama:1", "path": "./models"}}
ANSWERS = [
    ("an image's profile answers for the image", IMAGE, profile(origin=OF_IMAGE), True),
    ("and for no other tag of it", IMAGE, profile(origin={"image": {"reference": "ghcr.io/acme/llama:2", "path": "models"}}), False),
    ("nor for another folder", IMAGE, profile(origin={"image": {"reference": "ghcr.io/acme/llama:1"}}), False),
    ("a profile of the model's name says nothing of an image", IMAGE, profile(), False),
    ("a cache's profile answers for the cache", CACHE, profile(origin=CACHE, revision=COMMIT, requestedRevision="main"), True),
    ("a claim's folder is not the cache in it", CACHE, profile(origin=FOLDER), False),
    ("nor the cache the folder", FOLDER, profile(origin=CACHE), False),
    ("another branch in the cache is another reading", CACHE, profile(origin=CACHE, revision=COMMIT, requestedRevision="v2"), False),
]


@pytest.mark.parametrize(("why", "source", "known", "answers"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_whose_shape_answers(why: str, source: dict[str, Any], known: ModelProfile, answers: bool) -> None:
    found = verdict(source, known)
    assert isinstance(found, Admit if answers else Undecided), found


def test_the_commit_in_the_cache_is_the_plans() -> None:
    found = admitted(verdict(CACHE, profile(origin=CACHE, revision=COMMIT, requestedRevision="main")))
    assert found.plan.model_revision == COMMIT


def test_what_comes_over_the_network_may_take_as_long_as_from_the_hub() -> None:
    sources: tuple[dict[str, Any], ...] = ({"huggingFace": {}}, BUCKET, IMAGE)
    hub, bucket, image = (admitted(verdict(source, model={"profile": GIVEN})).plan for source in sources)
    assert bucket.startup_seconds == hub.startup_seconds >= image.startup_seconds


@pytest.mark.parametrize("source", [IMAGE, CACHE, BUCKET])
def test_nothing_is_asked_of_the_nodes_disk_for_the_weights(source: dict[str, Any]) -> None:
    plan = admitted(verdict(source, model={"profile": GIVEN})).plan
    assert plan.ephemeral_storage_bytes == 4 * GIB, "what is compiled, logs and /tmp"


def test_the_streamers_buffer_is_asked_for_and_may_be_bounded() -> None:
    def memory(source: dict[str, Any], *arguments: str) -> int:
        found = verdict(source, model={"profile": GIVEN}, engine={"extraArgs": list(arguments), "tensorParallelSize": 1})
        return admitted(found).plan.host_memory_bytes

    plain, streamed = memory(IMAGE), memory(BUCKET)
    files = 2 * 8_030_261_248
    assert files <= streamed - plain < files + (64 << 20), "all of the files, which is less than the streamer's limit of 40 GB"
    assert memory(BUCKET, "--load-format", "runai_streamer") == streamed
    bounded = memory(BUCKET, "--model-loader-extra-config", json.dumps({"memory_limit": 5 * 10**9}))
    assert bounded - plain == 5 * 10**9


REFUSED = [
    ("a release that does not know gs", {"objectStorage": {"uri": "gs://weights/llama"}}, {"version": "0.10.1"},
     "spec.model.source.objectStorage.uri", "gs:// is known since 0.10.2"),
    ("a release that does not know az", {"objectStorage": {"uri": "az://weights/llama"}}, {"version": "0.17.1"},
     "spec.model.source.objectStorage.uri", "az:// is known since 0.18.0"),
    ("a loader that reads no bucket", BUCKET, {"engine": {"extraArgs": ["--load-format", "safetensors"]}},
     "spec.engine.extraArgs", "does not load from object storage"),
    ("a draft that no hub is asked for", IMAGE, {"engine": {"speculative": {"method": "draft_model", "model": LLAMA_8B,
     "numSpeculativeTokens": 3}}}, "spec.engine.speculative.model", "from a volume or an image do not reach the hub"),
    ("a cache somewhere else", CACHE, {"template": {"env": [{"name": "HF_HUB_CACHE", "value": "/x"}]}},
     "spec.template.env", "where the pods find the model"),
    ("files somewhere else", CACHE, {"engine": {"extraArgs": ["--download-dir", "/x"]}},
     "spec.engine.extraArgs", "elsewhere than in the cache"),
    ("a branch of an image", IMAGE, {"model": {"profile": GIVEN, "revision": "v2"}}, "spec.model.revision", "source.image.reference"),
    ("a quantisation with a loader of its own", BUCKET, {"engine": {"quantization": "bitsandbytes"}},
     "spec.engine.quantization", "streams from no bucket"),
    ("a branch of a bucket", BUCKET, {"model": {"profile": GIVEN, "revision": "v2"}}, "spec.model.revision", "source.objectStorage.uri"),
]  # fmt: skip


@pytest.mark.parametrize(("why", "source", "more", "field", "words"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_would_find_no_weights_is_refused(why: str, source: dict[str, Any], more: dict[str, Any], field: str, words: str) -> None:
    found = verdict(source, **{"model": {"profile": GIVEN}, **more})
    assert isinstance(found, Reject), found
    assert (found.reason, found.field) == (Reason.INVALID_SPEC, field)
    assert words in found.message


@pytest.mark.parametrize(("scheme", "version"), [("s3", "0.9.2"), ("gs", "0.10.2"), ("az", "0.18.0")])
def test_a_release_that_knows_the_store_is_admitted(scheme: str, version: str) -> None:
    admitted(verdict({"objectStorage": {"uri": f"{scheme}://weights/llama"}}, model={"profile": GIVEN}, version=version))


def test_a_draft_of_the_same_cache_goes_by_its_name() -> None:
    draft = {"speculative": {"method": "draft_model", "model": LLAMA_8B, "numSpeculativeTokens": 3}}
    found = admitted(verdict(CACHE, model={"profile": GIVEN}, engine=draft))
    assert found.plan.ephemeral_storage_bytes == 4 * GIB


def test_a_bucket_without_a_shape_is_told_how_to_get_one() -> None:
    with pytest.raises(ApiError) as raised:
        wish(BUCKET)
    (cause,) = raised.value.causes
    assert cause.field == "spec.model.profile"
    assert "plimsoll profile fetch" in cause.message


@pytest.mark.parametrize(
    ("source", "words"),
    [({"objectStorage": {"uri": "s3://Weights/a b"}}, "s3://BUCKET/PATH"), ({"image": {"reference": "oci://ghcr.io/acme/a:1"}}, "oci://")],
)
def test_a_mistyped_address_is_told_how_it_is_written_and_not_by_a_regular_expression(source: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError) as raised:
        wish(source, model={"profile": GIVEN})
    (cause,) = raised.value.causes
    assert words in cause.message
    assert "[" not in cause.message


ALLOWED = {"allowedImages": ["docker.io/vllm", "ghcr.io/acme"]}


@pytest.mark.parametrize(("registry", "reason"), [("ghcr.io/acme", None), ("evil.dev", Reason.POLICY_FORBIDS)])
def test_a_policy_says_where_images_of_weights_come_from(registry: str, reason: Reason | None) -> None:
    source = {"image": {"reference": f"{registry}/llama:1"}}
    found = verdict(source, model={"profile": GIVEN}, policy=ALLOWED)
    assert getattr(found, "reason", None) == reason
    rows = [{"name": "a", "mountPath": "/a", "image": {"reference": f"{registry}/adapters"}}]
    other = verdict(IMAGE, model={"profile": GIVEN}, policy=ALLOWED, template={"volumes": rows})
    assert getattr(other, "reason", None) == reason
    if reason is not None:
        assert (getattr(found, "field", ""), getattr(other, "field", "")) == (
            "spec.model.source.image.reference",
            "spec.template.volumes[0].image.reference",
        )
