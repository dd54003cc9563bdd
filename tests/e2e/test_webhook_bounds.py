"""What one tenant's dry runs buy of the webhook on a real API server: a bounded memory, and nobody else's time."""

import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tests.controlplane import ControlPlane
from tests.controlplane.cluster import Json, KubectlError, wait_until
from tests.e2e.granting import grant
from tests.e2e.installation import GROUP, Installation

pytestmark = pytest.mark.e2e
MIB = 1 << 20
UNFINISHED_HEAD = f"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: {3 * MIB}\r\n\r\n".encode()
LLAMA: Json = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072,
}  # fmt: skip


def wish(name: str, model: Json) -> Json:
    spec = {"model": {"name": "acme/x"} | model, "engine": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 8192}}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "InferenceDeployment", "metadata": {"name": name}, "spec": spec}


def large(number: int) -> Json:
    text = json.dumps(LLAMA | {"number": number, "pad": [[] for _ in range(20_000)]}, separators=(",", ":"))
    return wish(f"large-{number}", {"profile": {"inline": text}})


def dry_run(installation: Installation, namespace: str, *manifests: Json) -> str:
    """As the tenant: what kubectl says."""
    listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    try:
        done = installation.cluster.kubectl(
            "create", "-n", namespace, "--as=tenant", "--dry-run=server", "-f", "-", stdin=json.dumps(listed)
        )
        return done.stdout + done.stderr
    except KubectlError as error:
        return error.stderr


def memory(installation: Installation) -> int:
    pid = installation.cluster.processes["webhook"].pid
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_hundreds_of_large_dry_runs_keep_a_bounded_memory_and_delay_nobody(installation: Installation, namespace: str) -> None:
    """Each is a megabyte and a half when it is parsed. An administrator's small dry run is answered within a second or so meanwhile."""
    grant(installation.cluster, namespace, "tenant", "edit")
    wait_until(lambda: "forbidden" not in dry_run(installation, namespace, large(0)), "the built-in role to be aggregated")
    before = memory(installation)
    path = f"/apis/{GROUP}/v1alpha1/namespaces/default/inferencedeployments?dryRun=All"
    waits = []
    with ThreadPoolExecutor(2) as pool:
        attacks = [pool.submit(dry_run, installation, namespace, *map(large, range(start, start + 20))) for start in range(1, 201, 20)]
        while not all(attack.done() for attack in attacks):
            began = time.monotonic()
            status, answer = installation.cluster.request("POST", path, wish("honest", {"name": "meta-llama/Llama-3.1-8B-Instruct"}))
            waits.append(time.monotonic() - began)
            assert status == 201, answer
            time.sleep(0.1)
    said = [line for attack in attacks for line in attack.result().splitlines()]
    assert sum("created (server dry run)" in line for line in said) == 200, said[:3]
    assert memory(installation) - before < 130 * MIB
    print(f"an honest dry run meanwhile: median {sorted(waits)[len(waits) // 2]:.2f} s, longest {max(waits):.2f} s")
    assert max(waits) < 5
    assert "Traceback" not in installation.log("webhook")


@contextmanager
def connected(plane: ControlPlane, port: int, count: int, first: bytes) -> Iterator[list[ssl.SSLSocket]]:
    """Connections to the webhook's own port, as a pod of the tenant's makes them where no network policy forbids it."""
    trust = ssl.create_default_context(cafile=str(plane.pki.folder / "ca.crt"))
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            plain = socket.create_connection(("127.0.0.1", port), timeout=20)
            sock = stack.enter_context(trust.wrap_socket(plain, server_hostname="127.0.0.1"))
            with suppress(OSError):
                sock.sendall(first)
            found.append(sock)
        yield found


@pytest.mark.parametrize(
    ("count", "first"),
    [
        pytest.param(60, UNFINISHED_HEAD + b"x" * (3 * MIB - 1), id="sixty bodies of 3 MiB that lack a byte"),
        pytest.param(560, b"POST /validate HTTP/1.1\r\nX: ", id="hundreds of connections that only stay open"),
    ],
)
def test_unfinished_requests_hold_a_bounded_memory_and_shut_nobody_out(
    installation: Installation, own_plane: ControlPlane, namespace: str, count: int, first: bytes
) -> None:
    honest = wish("honest", {"name": "meta-llama/Llama-3.1-8B-Instruct"})
    path = f"/apis/{GROUP}/v1alpha1/namespaces/{namespace}/inferencedeployments?dryRun=All"
    assert installation.cluster.request("POST", path, honest)[0] == 201
    before = memory(installation)
    with connected(own_plane, installation.ports["webhook"], count, first) as open_ones:
        for _ in range(5):
            status, answer = installation.cluster.request("POST", path, honest)
            assert status == 201, answer
        assert memory(installation) - before < 120 * MIB
        # The API server keeps its own connection; of these the first are given up, with an answer or without.
        assert all(sock.recv(200)[9:12] in (b"503", b"408", b"") for sock in open_ones[:20])


def costly(number: int) -> Json:
    """A verdict of half a second or so: two thousand layers of two kinds."""
    kinds = ["sliding_attention" if (layer * 7 + number) % 3 == 0 else "full_attention" for layer in range(2048)]
    config = LLAMA | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "num_hidden_layers": 2048, "layer_types": kinds}
    return wish(f"costly-{number}", {"profile": {"inline": json.dumps(config | {"sliding_window": 4096, "number": number})}})


def test_two_namespaces_floods_of_dry_runs_keep_no_third_ones_out_of_the_line(installation: Installation, namespace: str) -> None:
    """As an administrator, whom the API server lets send as much at once as they like: more than wait in all, of two namespaces."""
    cluster = installation.cluster
    cluster.kubectl("create", "namespace", f"{namespace}-2")

    def asked(where: str, manifest: Json) -> tuple[int, str]:
        path = f"/apis/{GROUP}/v1alpha1/namespaces/{where}/inferencedeployments?dryRun=All"
        status, answer = cluster.request("POST", path, manifest)
        return status, str(answer.get("message", ""))

    said: list[tuple[int, str]] = []
    try:
        with ThreadPoolExecutor(300) as pool:
            flood = [pool.submit(asked, (namespace, f"{namespace}-2")[number % 2], costly(number)) for number in range(900)]
            wait_until(lambda: any("too many requests" in one.result()[1] for one in flood if one.done()), "the line to be full")
            while not all(one.done() for one in flood):
                said.append(asked("default", wish("honest", {"name": "meta-llama/Llama-3.1-8B-Instruct"})))
    finally:
        cluster.kubectl("delete", "namespace", f"{namespace}-2", "--wait=false")
    assert said
    assert [message for _, message in said if "too many requests" in message] == []
    assert not any("within 0 seconds" in one.result()[1] for one in flood)
    wait_until(lambda: asked("default", wish("honest", {"name": "meta-llama/Llama-3.1-8B-Instruct"}))[0] == 201, "the flood to be over")
    print(f"an honest dry run meanwhile: {sum(status == 201 for status, _ in said)} of {len(said)} judged")


def test_a_namespaces_profiles_have_a_share_and_webhook_and_controller_name_the_same_ones(
    installation: Installation, namespace: str
) -> None:
    cluster = installation.cluster
    grant(cluster, namespace, "tenant", "edit")
    rows = [
        {
            "apiVersion": f"{GROUP}/v1alpha1",
            "kind": "ModelProfile",
            "metadata": {"name": f"p{number:03d}"},
            "spec": {"model": f"acme/p{number:03d}", "config": json.dumps(LLAMA)},
        }
        for number in range(258)
    ]

    def made(*profiles: Json) -> str:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(profiles)}
        try:
            return cluster.kubectl("apply", "-n", namespace, "--as=tenant", "-f", "-", stdin=json.dumps(listed)).stdout
        except KubectlError as error:
            return error.stderr

    wait_until(lambda: "forbidden" not in made(rows[0]), "the built-in role to be aggregated")
    assert "created" in made(*rows[:256])
    assert made(*rows[256:]).count("created") == 2

    def said_of(name: str) -> str:
        status = cluster.get("modelprofile", name, "-n", namespace).get("status") or {}
        return "".join(row["message"] for row in status.get("conditions", []))

    wait_until(lambda: "over the namespace's share" in said_of("p257"), "the controller to say what is left out")
    wait_until(lambda: "can be read" in said_of("p255"), "the controller to say what counts")
    late, counted = wish("late", {"name": "acme/p257"}), wish("counted", {"name": "acme/p255"})
    wait_until(lambda: "does not count" in dry_run(installation, namespace, late), "the webhook to leave out the same one")
    assert "Warning: undecided" not in dry_run(installation, namespace, counted)
    cluster.kubectl("delete", "modelprofile", "p000", "p001", "-n", namespace, "--as=tenant")
    wait_until(lambda: "Warning: undecided" not in dry_run(installation, namespace, late), "the webhook to read it again")
    wait_until(lambda: "can be read" in said_of("p257"), "the controller to count it again")
