"""Port, protocol and names of the server: pods and Service follow what the user says, and what nobody would reach is refused by name."""

from typing import Any

import pytest
from tests.plimsoll_operator.decision_world import Files, admitted, deployment, planned, verdict
from tests.plimsoll_operator.nodes import H100

from plimsoll_operator.ports import Manifest
from plimsoll_operator.render import Origin, render_deployment, render_service, serve_arguments
from plimsoll_operator.verdict import Admit, Reject, Undecided

ORIGIN = Origin(generation=1, spec_digest="", replan="")


def made(**engine: Any) -> tuple[Manifest, Manifest, list[str]]:
    """The deployment, its plan's engine container and its Service."""
    wish = deployment(engine={"maxModelLen": 8192, **engine})
    found = verdict(engine={"maxModelLen": 8192, **engine}, store=Files(H100))
    assert isinstance(found, Admit), found
    (container,) = render_deployment(wish, found.plan, ORIGIN)["spec"]["template"]["spec"]["containers"]
    return container, render_service(wish)["spec"]["ports"][0], serve_arguments(wish, found.plan)


SCHEMES = [  # why, arguments, what the probes speak (None: the API's default, HTTP)
    ("plain", [], None),
    ("a key and a certificate", ["--ssl-keyfile", "/tls/tls.key", "--ssl-certfile", "/tls/tls.crt"], "HTTPS"),
    ("a file that holds both", ["--ssl-certfile=/tls/both.pem"], "HTTPS"),
    ("with underscores", ["--ssl_keyfile=/tls/tls.key"], "HTTPS"),
    ("certificates of clients who have one", ["--ssl-certfile=/tls/both.pem", "--ssl-cert-reqs=1"], "HTTPS"),
    ("an authority alone makes no TLS", ["--ssl-ca-certs=/tls/ca.crt"], None),
    ("every address", ["--host", "0.0.0.0"], None),
    ("every address of both families", ["--host=::"], None),
]


@pytest.mark.parametrize(("why", "extra", "scheme"), SCHEMES, ids=[row[0] for row in SCHEMES])
def test_probes_speak_what_the_server_speaks(why: str, extra: list[str], scheme: str | None) -> None:
    container, _, _ = made(extraArgs=extra)
    probes = [container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert [probe.get("scheme") for probe in probes] == [scheme] * 3


@pytest.mark.parametrize(("engine", "port"), [({}, 8000), ({"port": 8200}, 8200)])
def test_container_probes_and_service_follow_the_port(engine: dict[str, int], port: int) -> None:
    container, service, arguments = made(**engine)
    assert arguments[arguments.index("--port") + 1] == str(port)
    assert container["ports"] == [{"name": "http", "containerPort": port, "protocol": "TCP"}]
    assert (service["port"], service["targetPort"], container["readinessProbe"]["httpGet"]["port"]) == (port, "http", "http")


NAMES = [
    ("the model's own", None, [], 0),
    ("the user's", None, ["--served-model-name", "a", "b"], 1),
    ("of a volume the model's name", "weights", [], 1),
    ("of a volume the user's alone", "weights", ["--served-model-name", "a"], 1),
    ("with underscores", "weights", ["--served_model_name", "a"], 1),
    ("with its value", "weights", ["--served_model_name=a"], 1),
    ("as argparse lets it be cut short", "weights", ["--served-model-n", "a"], 1),
    ("both", "weights", ["--served_model_n=a"], 1),
]


@pytest.mark.parametrize(("why", "claim", "extra", "times"), NAMES, ids=[row[0] for row in NAMES])
def test_a_served_name_is_said_once_and_is_the_users_where_one_is_given(why: str, claim: str | None, extra: list[str], times: int) -> None:
    wish = deployment(engine={"maxModelLen": 8192, "extraArgs": extra})
    if claim is not None:
        model = {"name": wish.spec.model.name, "source": {"persistentVolumeClaim": {"claimName": claim}}}
        wish = wish.model_copy(update={"spec": wish.spec.model_copy(update={"model": type(wish.spec.model).model_validate(model)})})
    plan = planned(verdict(engine={"maxModelLen": 8192, "extraArgs": extra}, store=Files(H100)))
    arguments = serve_arguments(wish, plan)
    assert sum(given.replace("_", "-").startswith("--served-model-n") for given in arguments) == times
    assert arguments[len(arguments) - len(extra) :] == extra


OTHERWISE = [  # a flag that the plan or a field says, as vLLM's parser takes it too; what it is to be said by
    (["--gpu_memory_utilization=0.5"], "spec.engine.gpuMemoryUtilization"),
    (["--gpu-memory-util", "0.5"], "spec.engine.gpuMemoryUtilization"),
    (["--max_num_s=4"], "spec.engine.maxNumSeqs"),
    (["--tensor-parallel-s=2"], "spec.engine.tensorParallelSize"),
    (["-tp=2"], "spec.engine.tensorParallelSize"),
    (["--dtyp=half"], "spec.engine.dtype"),
    (["--quantiz=fp8"], "spec.engine.quantization"),
    (["--nnode=2"], "maxNodesPerReplica"),
    (["--revisio=main"], "spec.model.revision"),
    (["--served-model-name=a", "--served_model_n=b"], "given twice"),
]


@pytest.mark.parametrize(("extra", "says"), OTHERWISE, ids=[row[0][-1] for row in OTHERWISE])
def test_no_spelling_of_an_argument_overrides_what_the_plan_says(extra: list[str], says: str) -> None:
    found = verdict(engine={"maxModelLen": 8192, "extraArgs": extra}, store=Files(H100))
    assert isinstance(found, Reject), found
    assert says in found.message


UNREACHABLE = [
    ("a socket of the file system", "0.19.0", ["--uds", "/tmp/s"], "--uds", "socket"),
    ("another protocol", "0.19.0", ["--grpc"], "--grpc", "no HTTP"),
    ("no server at all", "0.19.0", ["--headless"], "--headless", "no API server"),
    ("engines of a node, which the plan counts", "0.11.0", ["--data-parallel-size-local", "8"], "--data-parallel-size-local", "the plan's"),
    ("a file of arguments", "0.19.0", ["--config", "/c.yaml"], "--config", "nobody here reads"),
    ("the pod's own loopback", "0.19.0", ["--host", "127.0.0.1"], "--host", "the pod's own"),
    ("by name", "0.8.5", ["--host=localhost"], "--host", "0.0.0.0"),
    ("one address of the pod, which nobody knows before", "0.19.0", ["--host=10.0.0.7"], "--host", "the pod's own"),
    ("a certificate of every client", "0.19.0", ["--ssl-certfile=/a", "--ssl-cert-reqs=2"], "--ssl-cert-reqs", "have none"),
    ("the same number spelled otherwise", "0.19.0", ["--ssl-certfile=/a", "--ssl-cert-reqs=02"], "--ssl-cert-reqs", "have none"),
    ("no server", "0.19.0", ["--api-server-count=0"], "--api-server-count", "starts no server"),
    ("fewer than none", "0.19.0", ["-asc=-1"], "-asc", "starts no server"),
    ("the port, which is a field", "0.19.0", ["--port", "8200"], "--port", "spec.engine.port"),
    ("the port abbreviated", "0.19.0", ["--por=8200"], "--port", "spec.engine.port"),
    ("the revision, which is a field", "0.19.0", ["--revision", "main"], "--revision", "spec.model.revision"),
]


@pytest.mark.parametrize(("why", "version", "extra", "flag", "words"), UNREACHABLE, ids=[row[0] for row in UNREACHABLE])
def test_what_nobody_would_reach_is_refused_by_name(why: str, version: str, extra: list[str], flag: str, words: str) -> None:
    found = verdict(version=version, engine={"maxModelLen": 8192, "extraArgs": extra}, store=Files(H100))
    assert isinstance(found, Reject), found
    assert (found.reason, found.field) == ("InvalidSpec", "spec.engine.extraArgs")
    assert flag in found.message
    assert words in found.message
    assert "GPU memory" not in found.message, "that is said of what can move it"


SECRETS = [
    ("a key", "0.19.0", ["--api-key", "s3cret"], "VLLM_API_KEY"),
    ("a key, spelled otherwise", "0.19.0", ["--api_key=s3cret"], "VLLM_API_KEY"),
    ("a key abbreviated", "0.8.5", ["--api-k=s3cret"], "VLLM_API_KEY"),
    ("several keys", "0.19.0", ["--api-key", "one", "s3cret"], "VLLM_API_KEY"),
    ("the hub's token", "0.19.0", ["--hf-token", "s3cret"], "tokenSecretRef"),
    ("a key beside a fault of another argument", "0.19.0", ["--api-key=s3cret", "--api-key=s3cret"], "VLLM_API_KEY"),
]


@pytest.mark.parametrize(("why", "version", "extra", "words"), SECRETS, ids=[row[0] for row in SECRETS])
def test_a_secret_in_arguments_is_refused_and_not_repeated(why: str, version: str, extra: list[str], words: str) -> None:
    found = verdict(version=version, engine={"maxModelLen": 8192, "extraArgs": extra}, store=Files(H100))
    assert isinstance(found, Reject), found
    assert (found.reason, found.field) == ("InvalidSpec", "spec.engine.extraArgs")
    assert words in found.message
    assert "s3cret" not in repr(found)


def test_a_key_by_reference_reaches_the_engine() -> None:
    env = {"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}}
    template = {"env": [env]}
    wish = deployment(engine={"maxModelLen": 8192}, template=template)
    found = admitted(verdict(engine={"maxModelLen": 8192}, template=template, store=Files(H100)))
    (container,) = render_deployment(wish, found.plan, ORIGIN)["spec"]["template"]["spec"]["containers"]
    assert env in container["env"]


@pytest.mark.parametrize("image", ["vllm/vllm-openai:v0.7.3", "vllm/vllm-openai:v0.0.1"])
def test_a_vllm_whose_arguments_nobody_knows_is_looked_at_and_not_made(image: str) -> None:
    wish = deployment(engine={"image": image, "port": 9000, "extraArgs": ["--no-such-flag", "-tp=2"]})
    assert render_service(wish)["spec"]["ports"][0]["port"] == 9000
    found = verdict(engine={"image": image, "extraArgs": ["--no-such-flag"]}, store=Files(H100))
    assert isinstance(found, Undecided), found
