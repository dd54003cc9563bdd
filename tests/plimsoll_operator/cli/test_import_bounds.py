"""`plimsoll import` of what a file can make large or hostile: bounded work, no secret in a sentence, no key that hides another."""

import time
from typing import Any

import pytest
from tests.plimsoll_operator.cli.importing import a_deployment, at, imported, said

from plimsoll_operator.api import Manifest
from plimsoll_operator.cli.importing import Choices, Others, import_object, import_objects

SERVE = ["vllm", "serve", "Qwen/Qwen3-8B"]
MANY = 4000


def rows(**more: Any) -> list[Manifest]:
    return [{"name": f"n{place}", **more} for place in range(MANY)]


LARGE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("variables", {"env": rows(value="v")}, {}),
    ("variables that are secrets", {"env": rows(value="hf_abcdefghijkl")}, {}),
    ("labels of nodes", {}, {"nodeSelector": {f"n{place}": "v" for place in range(MANY)}}),
    ("tolerations", {}, {"tolerations": rows(operator="Exists")}),
    ("containers, and volumes that each looks through", {}, {
        "initContainers": rows(image="i", volumeMounts=[{"name": "n1", "mountPath": "/m"}]), "volumes": rows(emptyDir={})}),
    ("mounts", {"volumeMounts": rows(mountPath="/m")}, {"volumes": rows(emptyDir={})}),
    ("keys that nobody knows", {f"n{place}": "v" for place in range(MANY)}, {}),
]  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize(("sentence", "container", "pod"), LARGE, ids=[row[0] for row in LARGE])
def test_thousands_of_anything_take_about_as_long_as_they_are_long(sentence: str, container: dict[str, Any], pod: dict[str, Any]) -> None:
    start = time.process_time()
    imported(a_deployment({"command": SERVE, **container}, pod))
    assert time.process_time() - start < 10, sentence


def test_lists_end_where_the_api_s_do_and_the_rest_is_named() -> None:
    one = imported(a_deployment({"command": SERVE, "env": rows(value="v")}))
    assert len(at(one.manifest, "spec.template.env")) == 64
    assert sum("takes at most 64" in note.message for note in one.lost) == MANY - 64


@pytest.mark.parametrize("annotation", ["x" * (2 << 20), None])
def test_what_no_api_server_keeps_is_refused(annotation: str | None) -> None:
    obj = a_deployment({"command": SERVE})
    obj["metadata"]["annotations"] = {"a": annotation} if annotation else {f"a{place}": "b" for place in range(60_000)}
    assert "which no API server keeps" in str(import_object(obj, Others.of([]), Choices()).refusal)


@pytest.mark.thorough
def test_thousands_of_objects_find_what_belongs_to_them_at_once() -> None:
    config = {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"inference_config.yaml": "vllm: {max-model-len: 1024}"}}
    inference = {"preset": {"name": "Qwen/Qwen3-8B"}, "config": "c"}
    objects = [{"kind": "Service", "metadata": {"name": f"s{place}"}} for place in range(20_000)] + [config]
    objects += [
        {"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "metadata": {"name": f"w{place}"}, "inference": inference}
        for place in range(500)
    ]
    start = time.process_time()
    assert sum(len(one.imported) for one in import_objects(objects, Choices())) == 500
    assert time.process_time() - start < 30


HIDING: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("a key that is spelled as a path", {"spec.replicas": 1}, {}, "[spec.replicas]"),
    ("a key with brackets", {"a][b": 1}, {}, '["a][b"]'),
    ("a key with quotes", {'"a"': 1}, {}, '["\\"a\\""]'),
    ("an empty key", {"": 1}, {}, "[]"),
    ("something that is empty", {"unknown": {}}, {}, "unknown"),
    ("something that is false", {"unknown": False}, {}, "unknown"),
]


@pytest.mark.parametrize(("sentence", "obj", "_pod", "path"), HIDING, ids=[row[0] for row in HIDING])
def test_no_key_hides_by_its_spelling(sentence: str, obj: dict[str, Any], _pod: dict[str, Any], path: str) -> None:
    one = imported(a_deployment({"command": SERVE}) | obj)
    assert path in {note.field for note in one.lost}, sentence


def test_a_key_of_any_length_is_refused() -> None:
    obj = a_deployment({"command": SERVE}) | {"k" * 600: 1}
    assert "characters of one key" in str(import_object(obj, Others.of([]), Choices()).refusal)


LOOKS: list[tuple[str, str]] = [
    ("DSN", "https://verysecret1@sentry.example/1"),
    ("AUTH", "Bearer verysecret1"),
    ("WANDB", "0123456789abcdef0123456789abcdef01234567"),
    ("accessKey", "verysecret1"),
    ("CONFIG", '{"apiKey": "verysecret1"}'),
    ("LINE", "--password verysecret1"),
]


@pytest.mark.parametrize(("name", "value"), LOOKS, ids=[row[0] for row in LOOKS])
def test_a_literal_secret_is_known_by_an_odd_name_or_by_its_look(name: str, value: str) -> None:
    one = imported(a_deployment({"command": SERVE, "env": [{"name": name, "value": value}]}))
    assert value not in str(one.manifest) + said(one)
    assert one.lost


@pytest.mark.parametrize(
    ("name", "value"), [("REVISION", "0123456789abcdef0123456789abcdef01234567"), ("ENABLE_AUTH", "false"), ("M", "a/b")]
)
def test_what_is_no_secret_is_copied(name: str, value: str) -> None:
    one = imported(a_deployment({"command": SERVE, "env": [{"name": name, "value": value}]}))
    assert at(one.manifest, "spec.template.env") == [{"name": name, "value": value}]


PLACES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("an annotation", {}, {"note": "verysecret1"}),
    ("a label", {}, {"label": "verysecret1"}),
    ("an argument", {"command": [*SERVE, "--chat-template=verysecret1"]}, {}),
    ("a hook", {"lifecycle": {"preStop": {"exec": {"command": ["notify", "verysecret1"]}}}}, {}),
    ("a word that is left out", {"command": [*SERVE, "--no-such-flag=verysecret1"]}, {}),
    ("a model that does not count", {"command": ["vllm", "serve", "verysecret1", "--model", "a/b"]}, {}),
]


@pytest.mark.parametrize(("sentence", "container", "metadata"), PLACES, ids=[row[0] for row in PLACES])
def test_the_value_of_a_secret_is_copied_from_nowhere(sentence: str, container: dict[str, Any], metadata: dict[str, Any]) -> None:
    obj = a_deployment({"command": SERVE, "env": [{"name": "API_KEY", "value": "verysecret1"}], **container})
    obj["spec"]["template"]["metadata"] = {"annotations": metadata} if "note" in metadata else {"labels": metadata}
    one = imported(obj)
    assert "verysecret1" not in str(one.manifest) + said(one), sentence


STRANGE: list[Any] = [[], {}, 5, -1, 1.5, True, [1], [None], {"a": 1}, [{"a": 1}], "a\0b", 10**30]


@pytest.mark.parametrize("value", STRANGE, ids=repr)
def test_a_part_of_any_type_is_named_and_ends_nothing(value: Any) -> None:
    probe = {"httpGet": {"path": "/health", "port": value}}
    pod = {"volumes": [{"name": "v", "emptyDir": value}], "tolerations": value, "affinity": value, "securityContext": value}
    container = {"command": SERVE, "livenessProbe": probe, "ports": [{"containerPort": value}], "env": value, "resources": value}
    outcome = import_object(a_deployment(container | {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, pod), Others.of([]), Choices())
    (one,) = outcome.imported
    named = {note.field.rpartition(".")[2] for note in one.lost}
    assert {"livenessProbe", "ports"} <= named
    assert isinstance(value, dict) or "volumeMounts[0]" in named


BESIDE_A_NOTE: list[tuple[str, Manifest]] = [
    ("of a chart's values, where one argument is left out", {"servingEngineSpec": {"modelSpec": [{
        "name": "m", "repository": "vllm/vllm-openai", "tag": "v0.19.0", "modelURL": "Qwen/Qwen3-8B",
        "vllmConfig": {"maxLoras": 4, "zzUnknown": 7}}]}}),
    ("of a reference to a Secret", {"servingEngineSpec": {"modelSpec": [{
        "name": "m", "repository": "vllm/vllm-openai", "tag": "v0.19.0", "modelURL": "Qwen/Qwen3-8B",
        "hf_token": {"secretName": "s", "secretKey": "k", "zzUnknown": 7}}]}}),
    ("of a list of arguments, one of which is left out",
     a_deployment({"command": ["vllm", "serve"], "args": ["Qwen/Qwen3-8B", "--max-loras=4", {"zzUnknown": 7}]})),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "obj"), BESIDE_A_NOTE, ids=[row[0] for row in BESIDE_A_NOTE])
def test_a_note_of_one_thing_hides_nothing_beside_it(sentence: str, obj: Manifest) -> None:
    (one,) = import_object(obj, Others.of([obj]), Choices()).imported
    assert any("zzUnknown" in note.field or note.field.endswith("args[2]") for note in one.lost), said(one)
