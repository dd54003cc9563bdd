"""Where the weights come from, in the pods: what the engine is told, what is mounted, and by which variables it finds them."""

from dataclasses import replace
from typing import Any

import pytest
from tests.plimsoll_operator.rendering.rendering import PLAN, value_of, wish

from plimsoll_operator.render import Origin, render_deployment

ORIGIN = Origin(generation=3, spec_digest="d", replan="")
COMMIT = "a" * 40


def pod_of(source: dict[str, Any], *, engine: dict[str, Any] | None = None, revision: str | None = None, **model: Any) -> dict[str, Any]:
    spec = wish(model={"name": "acme/tiny-8b", "source": source, **model}, engine={"image": "vllm/vllm-openai:v0.19.0", **(engine or {})})
    plan = replace(PLAN, model_revision=revision)
    found: dict[str, Any] = render_deployment(spec, plan, ORIGIN)["spec"]["template"]["spec"]
    return found


def volume(pod: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((row for row in pod["volumes"] if row["name"] == name), None)


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {row["name"]: row["value"] for row in pod["containers"][0]["env"]}


def test_an_image_is_a_volume_and_its_folder_the_model() -> None:
    pod = pod_of({"image": {"reference": "ghcr.io/acme/llama:1", "path": "models/8b", "pullPolicy": "Never"}}, revision=COMMIT)
    assert volume(pod, "weights") == {"name": "weights", "image": {"reference": "ghcr.io/acme/llama:1", "pullPolicy": "Never"}}
    (container,) = pod["containers"]
    assert {"name": "weights", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]
    assert container["args"][:3] == ["/models/models/8b", "--served-model-name", "acme/tiny-8b"]
    assert "--revision" not in container["args"]
    assert environment(pod) == {"HF_HUB_OFFLINE": "1"}
    assert volume(pod, "hub-cache") is None, "nothing is downloaded"


def test_an_image_pulled_as_kubernetes_does_says_no_policy() -> None:
    assert volume(pod_of({"image": {"reference": "a"}}), "weights") == {"name": "weights", "image": {"reference": "a"}}


def test_a_model_in_the_hubs_cache_is_told_by_name_and_commit() -> None:
    claim = {"claimName": "hub", "path": "cache/hub", "layout": "HubCache"}
    pod = pod_of({"persistentVolumeClaim": claim}, revision=COMMIT)
    assert volume(pod, "weights") == {"name": "weights", "persistentVolumeClaim": {"claimName": "hub", "readOnly": True}}
    arguments = pod["containers"][0]["args"]
    assert arguments[:5] == ["acme/tiny-8b", "--served-model-name", "acme/tiny-8b", "--revision", COMMIT]
    assert environment(pod) == {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": "/models/cache/hub"}


def test_a_folder_of_a_cache_is_named_as_it_is_written() -> None:
    """Kubernetes would put variables in for $(NAME), and the engine would load another folder than was read."""
    claim = {"claimName": "hub", "path": "a$(HF_HUB_OFFLINE)", "layout": "HubCache"}
    assert environment(pod_of({"persistentVolumeClaim": claim}))["HF_HUB_CACHE"] == "/models/a$$(HF_HUB_OFFLINE)"


def test_a_bucket_is_streamed() -> None:
    pod = pod_of({"objectStorage": {"uri": "s3://weights/llama"}}, profile={"name": "llama"}, revision=COMMIT)
    arguments = pod["containers"][0]["args"]
    assert arguments[:3] == ["s3://weights/llama", "--served-model-name", "acme/tiny-8b"]
    assert arguments[3:5] == ["--load-format", "runai_streamer"]
    assert "--revision" not in arguments
    assert volume(pod, "weights") is None
    assert environment(pod) == {}, "tokenizers of a bucket are pulled, and what else is on a hub may be"


@pytest.mark.parametrize("given", [["--load-format", "runai_streamer_sharded"], ["--load-format=runai_streamer_sharded"]])
def test_the_users_own_streamer_goes_before_ours(given: list[str]) -> None:
    pod = pod_of({"objectStorage": {"uri": "s3://weights/llama"}}, engine={"extraArgs": given}, profile={"name": "llama"})
    text = " ".join(pod["containers"][0]["args"])
    assert text.count("--load-format") == 1
    assert text.endswith(" ".join(given))


def test_an_image_among_the_volumes_is_mounted_as_said() -> None:
    row = {"name": "adapters", "mountPath": "/adapters", "subPath": "v1", "image": {"reference": "ghcr.io/acme/adapters:1"}}
    spec = render_deployment(wish(template={"volumes": [row]}), PLAN, ORIGIN)["spec"]["template"]["spec"]
    assert volume(spec, "adapters") == {"name": "adapters", "image": {"reference": "ghcr.io/acme/adapters:1"}}
    assert {"name": "adapters", "mountPath": "/adapters", "subPath": "v1"} in spec["containers"][0]["volumeMounts"]
    assert value_of("--max-model-len", spec["containers"][0]["args"]) == "32768"
