"""Real vLLM on a real node, from the manifest to the answer and back: what a user does with a deployment, in the order of its life.

Run by `make demo-engine ENGINES="0.25.1=PYTHON 0.32.0=PYTHON"`, each a Python with the CPU build of that release. The node says that it
has two L4; the engine counts on its CPU, from the command that was generated for them, unmodified. So what is compared with the plan are
arguments, names, versions and life, and no byte of a GPU. The tests follow each other: each goes on where the last one ended.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.controlplane.cluster import Json, KubectlError, wait_until
from tests.controlplane.node.real_engine import PYTHONS
from tests.controlplane.node.real_node import RealNode
from tests.e2e.engines import NAME, SAID_WITHIN_S, TEAM, asked, condition, is_current, newest_pod, patched
from tests.e2e.volumes import volume
from tests.e2e.witness import Witness
from tests.engine.start import BYTES_PER_TOKEN, CACHE_GIB, CONFIG, TINY, cache_tokens

pytestmark = pytest.mark.e2e
SERVED = "acme/tiny"
STARTS_WITHIN_S = 420
"""Alone on two cores it takes a minute; two at once beside a control plane take several."""
RELEASES: dict[str, str] = json.loads(os.environ.get(PYTHONS, "{}"))
CONTEXT = int(CONFIG["max_position_embeddings"])


def wish(release: str, **engine: object) -> str:
    """A tiny model on a claim. float32 and eager are the CPU's: it has no compiler, and not every one has kernels for the other type."""
    source = {"persistentVolumeClaim": {"claimName": "weights", "path": "tiny"}}
    asks = {"image": f"vllm/vllm-openai:v{release}", "dtype": "float32", "enforceEager": True, "maxNumSeqs": 8, **engine}
    spec = {"model": {"name": SERVED, "source": source}, "engine": asks}
    return yaml.safe_dump(
        {"apiVersion": "inference.plimsoll.dev/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": NAME}, "spec": spec}
    )


def said(what: str, since: float) -> None:
    """One line for whoever looks on."""
    print(f"  {time.monotonic() - since:6.1f} s  {what}", flush=True)


def serves(node: RealNode, replicas: int, release: str) -> bool:
    """Whether the status says that all serve by the newest spec, and these are pods of that release. An engine that ends ends the wait."""
    ended, reason, message = condition(node, "Stalled")
    assert (ended, reason) != ("True", "EngineEnds"), message
    images = {pod["spec"]["containers"][0]["image"] for pod in node.pods(TEAM)}
    ready = condition(node, "Ready")[0] == "True" and node.get("infd", NAME, "-n", TEAM)["status"].get("ready") == f"{replicas}/{replicas}"
    return is_current(node) and ready and images == {f"vllm/vllm-openai:v{release}"}


def completes(node: RealNode) -> int:
    """Tokens that the engine makes of a prompt, asked through its Service."""
    body = {"model": SERVED, "prompt": "Hello", "max_tokens": 16, "ignore_eos": True}
    status, answer = node.request("POST", f"/api/v1/namespaces/{TEAM}/services/{NAME}:8000/proxy/v1/completions", body)
    assert status == 200, answer
    return int(answer["usage"]["completion_tokens"])


def metrics(node: RealNode, pod: str) -> str:
    """What the pod's own page of figures says."""
    return node.kubectl("get", "--raw", f"/api/v1/namespaces/{TEAM}/pods/{pod}:8000/proxy/metrics").stdout


@pytest.fixture(scope="module")
def releases() -> list[str]:
    """The two that were handed over, in their order."""
    if len(RELEASES) < 2:
        pytest.fail("two releases are needed: make demo-engine ENGINES='RELEASE=PYTHON RELEASE=PYTHON'")
    return list(RELEASES)


@pytest.fixture(scope="module")
def node(gpu_node: RealNode, releases: list[str], workdir: Path) -> Iterator[RealNode]:
    """The node with a checkpoint on a claim, as vLLM's own libraries write it. All along, status may not contradict the pods."""
    model = workdir / "weights" / "tiny"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    subprocess.run([RELEASES[releases[0]], "-B", TINY, model], check=True, capture_output=True, env={**os.environ, "HOME": str(workdir)})
    for path in model.iterdir():
        path.chmod(0o644)
    gpu_node.kubectl("apply", "-f", "-", stdin=volume("weights", model.parent, namespace=TEAM))
    wait_until(lambda: gpu_node.get("pvc", "weights", "-n", TEAM)["status"].get("phase") == "Bound", "the claim to be bound")
    witness = Witness(gpu_node, TEAM, within_s=SAID_WITHIN_S)
    yield gpu_node
    contradicted = witness.end()
    assert contradicted == []
    assert witness.looks > 0


def test_a_context_that_the_model_does_not_have_is_refused_before_a_pod_is_made(node: RealNode, releases: list[str]) -> None:
    """By the webhook, reached through its ClusterIP; a model that nobody has read yet is judged by the controller as soon as it is."""
    node.kubectl("apply", "-n", TEAM, "-f", "-", stdin=wish(releases[0], maxModelLen=CONTEXT * 4))
    wait_until(lambda: condition(node, "Feasible")[0] == "False", "the verdict on what the reader pod has read", timeout_s=60)
    _, reason, message = condition(node, "Feasible")
    print(f"\n  {reason}: {message}")
    assert str(CONTEXT) in message
    assert not node.pods(TEAM, f"inference.plimsoll.dev/name={NAME}")
    with pytest.raises(KubectlError) as refused:  # now the webhook knows the model too
        node.kubectl("apply", "-n", TEAM, "-f", "-", stdin=wish(releases[0], maxModelLen=CONTEXT * 2))
    assert str(CONTEXT) in str(refused.value)


def test_a_manifest_becomes_an_engine_that_answers(node: RealNode, releases: list[str]) -> None:
    began = time.monotonic()
    print()
    node.kubectl("apply", "-n", TEAM, "-f", "-", stdin=wish(releases[0]))
    plan = wait_until(lambda: node.get("infd", NAME, "-n", TEAM).get("status", {}).get("plan"), "the plan", timeout_s=60)
    sizes = f"tensor parallel {plan['tensorParallelSize']}, utilization {plan['gpuMemoryUtilization']}"
    said(f"planned: {sizes}, {plan['maxModelLen']} tokens", began)
    wait_until(lambda: newest_pod(node).get("status", {}).get("phase") == "Running", "the container to run", timeout_s=60)
    command = newest_pod(node)["spec"]["containers"][0]
    said(f"runs: {' '.join([*command.get('command', ()), *command.get('args', ())])}", began)
    wait_until(lambda: serves(node, 1, releases[0]), "the engine to serve", timeout_s=STARTS_WITHIN_S, every_s=1)
    said(f"serves: {node.kubectl('get', 'infd', NAME, '-n', TEAM, '--no-headers').stdout.strip()}", began)
    assert completes(node) == 16
    said("answers 16 tokens through its Service", began)


def test_log_and_figures_are_the_engine_s_and_the_status_reads_them(node: RealNode, releases: list[str]) -> None:
    pod = newest_pod(node)["metadata"]["name"]
    log = node.kubectl("logs", pod, "-n", TEAM, "-c", "vllm").stdout
    assert releases[0] in log
    figures = metrics(node, pod)
    assert cache_tokens(figures) == (CACHE_GIB << 30) // BYTES_PER_TOKEN
    assert json.loads(json.dumps(asked(node, "/v1/models")[1]))["data"][0]["id"] == SERVED
    observed = wait_until(lambda: node.get("infd", NAME, "-n", TEAM)["status"].get("observed"), "what the engine's log says", timeout_s=60)
    print(f"\n  status.observed: release {observed.get('engineVersion')}, {observed.get('kvCacheTokens')} tokens of cache")
    assert re.match(rf"{re.escape(releases[0])}\b", observed["engineVersion"])


def test_two_replicas_serve_and_one_is_taken_away_again(node: RealNode, releases: list[str]) -> None:
    began = time.monotonic()
    print()
    node.kubectl("scale", "infd", NAME, "-n", TEAM, "--replicas=2")
    wait_until(lambda: serves(node, 2, releases[0]), "two engines to serve", timeout_s=STARTS_WITHIN_S, every_s=1)
    said("two replicas serve", began)
    node.kubectl("scale", "infd", NAME, "-n", TEAM, "--replicas=1")
    wait_until(lambda: len(node.pods(TEAM)) == 1 and serves(node, 1, releases[0]), "one engine to go", timeout_s=90, every_s=0.5)
    said("one serves again", began)
    assert completes(node) == 16


def test_another_release_takes_over_while_the_old_one_answers(node: RealNode, releases: list[str]) -> None:
    began = time.monotonic()
    print()
    before = plan_of(node)
    patched(node, engine={"image": f"vllm/vllm-openai:v{releases[1]}"})
    unanswered = 0
    while not serves(node, 1, releases[1]):
        assert time.monotonic() - began < STARTS_WITHIN_S, newest_pod(node)
        unanswered += asked(node, "/health")[0] != 200
        time.sleep(1)
    said(f"vLLM {releases[1]} serves", began)
    assert unanswered == 0, "a GPU is free, so the new engine comes beside the old one"
    assert plan_of(node)["engineVersion"] != before["engineVersion"]
    assert completes(node) == 16


def test_what_is_deleted_leaves_nothing(node: RealNode) -> None:
    began = time.monotonic()
    print()
    node.kubectl("delete", "infd", NAME, "-n", TEAM)
    wait_until(lambda: not node.pods(TEAM), "the pods to go", timeout_s=60)
    said("deleted, and no pod is left", began)

    def children() -> Json:
        found: Json = node.get("deployments,services,poddisruptionbudgets", "-n", TEAM)["items"]
        return found

    wait_until(lambda: not children(), "the children to go", timeout_s=30)


def plan_of(node: RealNode) -> dict[str, Any]:
    """The plan that its status has."""
    found: Json = node.get("infd", NAME, "-n", TEAM)["status"]["plan"]
    return dict(found)
