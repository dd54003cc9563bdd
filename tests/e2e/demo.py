"""`make demo`: the whole way once on a real control plane, with kubectl's own output, timed, checked at every step.

Boots the control plane, installs the chart's manifests, starts controller and webhook with their own ServiceAccounts, applies
every file of examples/, changes one, deletes one, and measures how long pods take to appear. Ends with 1 when an expectation failed.
"""

import http.client
import json
import shlex
import statistics
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import yaml
from tests.controlplane import FAKE_GPU_NODES, AssetsError, ControlPlane, obtain
from tests.controlplane.cluster import Json, wait_until
from tests.e2e.installation import ROOT, Installation

EXAMPLES = ROOT / "examples"
NAMESPACE = "models"
NAME_LABEL = "inference.plimsoll.dev/name"
WAIT_S = 20
LATENCY_SAMPLES = 15
LATENCY_AIM_MS = 300
WIDTH = 140
NEXT = """\
Next: make playground          keeps such a cluster until Ctrl-C, and says what to try
      docs/quickstart.md       from nothing to a served model on a cluster of yours
      plimsoll fit MODEL       on which GPUs a model fits (.venv/bin/plimsoll here)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an example must lead to. Sizes are read from the pods' own arguments, not from what Plimsoll says of itself.

    `engines` of one pod have GPUs of their own each.
    """

    outcome: Literal["runs", "refused", "undecided"]
    tensor_parallel_size: int = 0
    engines: int = 1
    node: str = ""
    context_below: int = 0
    says: tuple[str, ...] = ()


EXPECTED = {
    "01-smallest.yaml": Expected(outcome="runs", tensor_parallel_size=1),
    "02-resized-to-one-l4.yaml": Expected(outcome="runs", tensor_parallel_size=1, node="l4-0", context_below=131072),
    "03-llama-70b-short-context.yaml": Expected(outcome="runs", tensor_parallel_size=2, node="h100-0"),
    "04-llama-70b-long-context.yaml": Expected(outcome="runs", tensor_parallel_size=4, node="h100-0"),
    "05-llama-70b-on-a100.yaml": Expected(outcome="runs", tensor_parallel_size=4, node="a100-0"),
    "06-rejected-context.yaml": Expected(outcome="refused", says=("needed", "available", "short by", "maxModelLen", "offer: ")),
    "07-unknown-model.yaml": Expected(outcome="undecided", says=("acme/in-house-13b",)),
    "08-chat-workload.yaml": Expected(outcome="runs", tensor_parallel_size=2, node="l4-0"),
    "09-llama-405b-two-nodes.yaml": Expected(outcome="refused", says=("needed", "short by")),  # the demo has one such node
    "10-qwen3-experts.yaml": Expected(outcome="runs", tensor_parallel_size=1, engines=2, node="h100-0"),
    "11-weights-on-a-volume.yaml": Expected(outcome="undecided", says=("PersistentVolumeClaim",)),
}


class PodWatch:
    """Notes when each pod of the namespace was first seen, by a watch of its own: kubectl's start-up would blur milliseconds."""

    def __init__(self, plane: ControlPlane) -> None:
        self._seen: dict[str, float] = {}
        port = plane.proxy_port()
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._connection.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods?watch=1")
        self._response = self._connection.getresponse()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while line := self._response.readline():
                event = json.loads(line)
                if event["type"] == "ADDED":
                    self._seen.setdefault(event["object"]["metadata"]["labels"].get(NAME_LABEL, ""), time.monotonic())
        except (OSError, http.client.HTTPException):
            return  # the control plane went away
        finally:
            self._response.close()
            self._connection.close()

    def first_pod(self, name: str) -> float | None:
        """Return the monotonic time at which the first pod of an InferenceDeployment was seen."""
        return self._seen.get(name)


class Demo:
    """One run: what was shown, how long it took, what went wrong."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.failures: list[str] = []
        self.steps: list[tuple[str, float]] = []
        self.pod_delays_ms: list[float] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce and time a step."""
        print(painted(f"\n== {title}", 1), flush=True)
        began = time.monotonic()
        try:
            yield
        finally:
            self.steps.append((title, time.monotonic() - began))

    def expect(self, holds: object, sentence: str) -> None:
        """Note whether an expectation holds."""
        print(f"   {painted('ok  ', 32) if holds else painted('FAIL', 31)} {sentence}", flush=True)
        if not holds:
            self.failures.append(sentence)

    def wait(self, look: Callable[[], object], sentence: str, timeout_s: float = WAIT_S) -> None:
        """Expect something within a time."""
        try:
            wait_until(look, sentence, timeout_s=timeout_s)
        except TimeoutError:
            self.expect(False, f"{sentence} (within {timeout_s:g} s)")
        else:
            self.expect(True, sentence)

    def kubectl(self, *arguments: str) -> tuple[int, str]:
        """Run and show kubectl as a user would; return exit status and all it printed."""
        print(f"$ kubectl {shlex.join(arguments)}", flush=True)
        done = self.plane.kubectl("-n", NAMESPACE, *arguments, check=False)
        text = done.stdout + done.stderr
        print("\n".join(map(folded, text.rstrip().splitlines())), flush=True)
        return done.returncode, text

    def pods(self, name: str) -> list[Json]:
        return self.plane.pods(NAMESPACE, f"{NAME_LABEL}={name}")

    def children(self, name: str) -> list[str]:
        """Return what exists in the namespace because of an InferenceDeployment."""
        found = self.plane.get("-n", NAMESPACE, "deployments,services,pods", "-l", f"{NAME_LABEL}={name}")
        return [f"{one['kind']}/{one['metadata']['name']}" for one in found["items"]]


def painted(text: str, code: int) -> str:
    """With an escape of that code on a terminal, plain in a pipe."""
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() else text


def folded(line: str) -> str:
    """A line of kubectl's under our margin, over several where no screen has room for it."""
    return (
        textwrap.fill(line, WIDTH, initial_indent="   ", subsequent_indent=" " * 7, drop_whitespace=True)
        if len(line) > WIDTH
        else f"   {line}"
    )


def all_is_free(pool: Json) -> bool:
    """Whether the pool's nodes are ready and nothing holds their GPUs."""
    status = pool.get("status", {})
    return bool(status.get("totalGpus")) and status.get("freeGpus") == status["totalGpus"]


def arguments_of(pod: Json) -> dict[str, str]:
    """Return the flags of the pod's vLLM container; a flag may be `--name=value` or `--name value`."""
    container = next(one for one in pod["spec"]["containers"] if one["name"] == "vllm")
    words = [*container.get("command", []), *container.get("args", [])]
    found: dict[str, str] = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            found[name] = value if equals else following
    return found


def show_example(demo: Demo, watch: PodWatch, path: Path) -> None:
    """Apply one file and check what its table entry says."""
    expected = EXPECTED[path.name]
    name = yaml.safe_load(path.read_text())["metadata"]["name"]
    status, text = demo.kubectl("apply", "-f", str(path.relative_to(ROOT)))
    returned = time.monotonic()
    for words in expected.says if expected.outcome == "refused" else ():
        demo.expect(words in text, f"the refusal says {words!r}")
    if expected.outcome == "refused":
        demo.expect(status == 1, "kubectl apply was refused")
        demo.expect(not demo.children(name), "nothing was made")
        return
    demo.expect(status == 0, "kubectl apply was accepted")
    if expected.outcome == "undecided":
        show_undecided(demo, name, text, expected)
        return
    demo.wait(lambda: watch.first_pod(name), "a pod exists", timeout_s=10)
    if seen := watch.first_pod(name):
        demo.pod_delays_ms.append(max(0.0, (seen - returned) * 1000))
    demo.wait(lambda: demo.pods(name) and all(pod["status"]["phase"] == "Running" for pod in demo.pods(name)), "its pod runs")
    demo.wait(lambda: condition(demo, name, "Ready") == "True", "its condition Ready is True")
    demo.kubectl("get", "infd", name)
    demo.kubectl("get", "pods", "-l", f"{NAME_LABEL}={name}", "-o", "wide")
    for pod in demo.pods(name)[:1]:
        check_pod(demo, pod, expected)


def condition(demo: Demo, name: str, kind: str) -> str:
    """The status of a condition of an InferenceDeployment; empty where it has none."""
    found = demo.plane.get("-n", NAMESPACE, "infd", name)
    return next((str(one["status"]) for one in found.get("status", {}).get("conditions", []) if one["type"] == kind), "")


def check_pod(demo: Demo, pod: Json, expected: Expected) -> None:
    """Compare what the pod's container is told with what was expected."""
    flags = arguments_of(pod)
    shown = {flag: flags.get(flag) for flag in ("--tensor-parallel-size", "--gpu-memory-utilization", "--max-model-len")}
    demo.expect(all(shown.values()), "vllm is told " + " ".join(f"{flag} {value}" for flag, value in shown.items()))
    size = expected.tensor_parallel_size
    demo.expect(shown["--tensor-parallel-size"] == str(size), f"tensor parallel size {size}")
    container = next(one for one in pod["spec"]["containers"] if one["name"] == "vllm")
    gpus = size * expected.engines
    demo.expect(container["resources"]["limits"].get("nvidia.com/gpu") == str(gpus), f"it asks for {gpus} GPU(s)")
    if expected.node:
        demo.expect(pod["spec"].get("nodeName") == expected.node, f"kube-scheduler bound it to {expected.node}")
    if expected.context_below:
        context = int(shown["--max-model-len"] or 0)
        demo.expect(8192 <= context < expected.context_below, f"the context became {context}, not {expected.context_below}")


def show_undecided(demo: Demo, name: str, text: str, expected: Expected) -> None:
    """Check an object that is kept without pods."""
    demo.expect("Warning:" in text, "kubectl shows a warning that says what happens next")
    for words in expected.says:
        demo.expect(words in text, f"the warning names {words}")

    demo.wait(lambda: condition(demo, name, "Feasible") == "Unknown", "its condition Feasible is Unknown")
    demo.kubectl("get", "infd", name)
    demo.expect(not demo.children(name), "it has no Deployment, no Service and no pods")


def show_change(demo: Demo) -> None:
    """Change a spec and see the plan follow."""
    patch = {"spec": {"engine": {"maxModelLen": 131072}}}
    status, _ = demo.kubectl("patch", "infd", "llama-70b-a100", "--type=merge", "-p", json.dumps(patch))
    demo.expect(status == 0, "the change was accepted")

    def replanned() -> bool:
        running = [pod for pod in demo.pods("llama-70b-a100") if not pod["metadata"].get("deletionTimestamp")]
        told = [arguments_of(pod) for pod in running]
        return any(flags.get("--tensor-parallel-size") == "8" and flags.get("--max-model-len") == "131072" for flags in told)

    demo.wait(replanned, "a pod with tensor parallel size 8 and the longer context exists")
    demo.kubectl("get", "infd", "llama-70b-a100")


def show_deletion(demo: Demo) -> None:
    """Delete an InferenceDeployment and see its children go."""
    demo.expect(demo.children("llama-70b-long"), "it has children before: " + ", ".join(demo.children("llama-70b-long")))
    demo.kubectl("delete", "infd", "llama-70b-long")
    demo.wait(lambda: not demo.children("llama-70b-long"), "its Deployment, Service and pods are gone")


def measure(demo: Demo, watch: PodWatch) -> None:
    """Apply the smallest example under new names and note when the first pod of each was seen."""
    manifest = yaml.safe_load((EXAMPLES / "01-smallest.yaml").read_text())
    for number in range(LATENCY_SAMPLES):
        name = manifest["metadata"]["name"] = f"sample-{number}"
        demo.plane.kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin=yaml.safe_dump(manifest))
        returned = time.monotonic()
        seen = wait_until(partial(watch.first_pod, name), f"a pod of {name}", timeout_s=10, every_s=0.005)
        demo.pod_delays_ms.append(max(0.0, (seen - returned) * 1000))
        demo.plane.kubectl("-n", NAMESPACE, "delete", "infd", name)
    median = statistics.median(demo.pod_delays_ms)
    print(f"   {len(demo.pod_delays_ms)} samples: median {median:.0f} ms, longest {max(demo.pod_delays_ms):.0f} ms")
    demo.expect(
        median <= LATENCY_AIM_MS, f"median from kubectl apply returning to a pod existing: {median:.0f} ms, aim {LATENCY_AIM_MS} ms"
    )


def play(demo: Demo) -> None:
    """All steps, in order."""
    plane = demo.plane
    plane.kubectl("create", "namespace", NAMESPACE)
    installation = Installation(cluster=plane)
    with demo.step("Install the chart's manifests, start webhook and controller with their own ServiceAccounts"):
        installation.install()
        demo.kubectl("get", "crd,sa,validatingwebhookconfigurations", "-n", "plimsoll-system", "-o", "name")
    with demo.step("Add fake GPU nodes with real labels"):
        plane.add_nodes(FAKE_GPU_NODES)
        demo.kubectl("get", "nodes", "-L", "nvidia.com/gpu.product,nvidia.com/gpu.count,nvidia.com/gpu.memory")
        products = {node.gpu.product for node in FAKE_GPU_NODES}
        demo.wait(lambda: len(plane.get("gpupools")["items"]) == len(products), f"{len(products)} GPUPools were derived")
        demo.wait(lambda: all(all_is_free(pool) for pool in plane.get("gpupools")["items"]), "all their GPUs are free")
        demo.kubectl("get", "gpupools")
    watch = PodWatch(plane)
    paths = sorted(EXAMPLES.glob("*.yaml"))
    demo.expect({path.name for path in paths} == set(EXPECTED), "every file of examples/ has an expectation")
    for path in paths:
        with demo.step(f"examples/{path.name}"):
            print("   " + "\n   ".join(line[2:] for line in path.read_text().splitlines() if line.startswith("# ")))
            show_example(demo, watch, path)
    with demo.step("A changed spec is planned anew"):
        show_change(demo)
    with demo.step("How long pods take to appear"):
        measure(demo, watch)
    with demo.step("A deleted object's children go"):
        show_deletion(demo)
    with demo.step("All that is there"):
        demo.kubectl("get", "infd", "-o", "wide")
        for name in ("webhook", "controller"):
            demo.expect("Traceback" not in installation.log(name), f"no traceback in the log of the {name}")


def main() -> int:
    """Run the demo; return the exit status."""
    try:
        assets = obtain()
    except AssetsError as error:
        print(f"plimsoll: {error}", file=sys.stderr)
        return 1
    base = ROOT / ".work"
    base.mkdir(exist_ok=True)
    workdir = Path(tempfile.mkdtemp(prefix="demo-", dir=base))
    began = time.monotonic()
    with ControlPlane.start(workdir, assets=assets) as plane:
        demo = Demo(plane)
        demo.steps.append(("Boot etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok", time.monotonic() - began))
        print("control plane: " + ", ".join(f"{name} after {seconds} s" for name, seconds in plane.boot_seconds.items()))
        try:
            play(demo)
        except (RuntimeError, TimeoutError) as error:
            demo.failures.append(f"the demo could not go on: {error}")
    print("\nseconds  step")
    for title, seconds in demo.steps:
        print(f"{seconds:7.1f}  {title}")
    print(f"{time.monotonic() - began:7.1f}  in all")
    if demo.failures:
        print(f"\n{len(demo.failures)} expectation(s) failed; logs are in {workdir}:", *demo.failures, sep="\n  ")
        return 1
    print(f"\nEvery expectation held.\n\n{NEXT}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; everything that was started has been stopped")
