"""What commands show at 60, 100 and 200 columns and in a pipe, as golden files keep it; run as a module it writes those files anew.

`make shown` runs it after sentences have changed for a reason. `plimsoll fit` has its own, in `fit_world`.
"""

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.plimsoll_operator.cli.doctor_world import AMD, conditions, deployment, found, healthy
from tests.plimsoll_operator.cli.fit_world import FOLDER
from tests.plimsoll_operator.decision_world import LLAMA_8B, manifest
from tests.plimsoll_operator.fake_kube import FakeKube
from tests.plimsoll_operator.nodes import H100

from plimsoll_operator.cli import doctor, main, status
from plimsoll_operator.cli.screen import Screen
from plimsoll_operator.ports import INFERENCE_DEPLOYMENTS, PODS

ROOT: Final = Path(__file__).resolve().parents[3]
SCREENS: Final[Mapping[str, Screen]] = {
    "60": Screen(width=60),
    "100": Screen(width=100, blocks=True),
    "200": Screen(width=200, blocks=True, colour=True),
    "pipe": Screen(),
}
NODES: Final = "examples/cluster/nodes.yaml"
PIPED: Final[Mapping[str, tuple[str, ...]]] = {
    "plan-pipe": ("plan", "-f", "examples/03-llama-70b-short-context.yaml", "--nodes", NODES),
    "plan-refused-pipe": ("plan", "-f", "examples/06-rejected-context.yaml", "--nodes", NODES),
    "capacity-pipe": ("capacity", "--nodes", NODES),
    "nodes-pipe": ("nodes", "--nodes", NODES),
    "explain-pipe": ("explain", "WaitingForGpus"),
    "gpus-pipe": ("gpus", "--gpu", "h100"),
    "estimate-pipe": ("estimate", "--model", "meta-llama/Llama-3.1-8B", "--gpu", "NVIDIA-L4", "--max-model-len", "8192"),
}
"""Commands that print the same whatever the screen: a terminal folds their lines."""
WHEN: Final = "2026-11-29T00:00:00Z"
SAID: Final = (
    ("ModelResolved", "True", "Found", "the shape is known from catalogue"),
    ("Feasible", "True", "Fits", "fits as asked"),
    ("CapacityAvailable", "True", "Bound", "every replica has its GPUs"),
    ("Progressing", "False", "EngineEnds", "see Stalled"),
    ("Available", "False", "EngineEnds", "0 of 1 replica available: see Stalled"),
    ("Ready", "False", "EngineEnds", "see Stalled"),
    (
        "Stalled",
        "True",
        "EngineEnds",
        "1 pod: container vllm ends again and again: it ended with status 1; its last words: ValueError: No available memory.",
    ),
)


def of_status(screen: Screen) -> str:
    """A deployment whose engine ends again and again."""
    kube, wish = FakeKube(), manifest(LLAMA_8B)
    kube.create(INFERENCE_DEPLOYMENTS, wish)
    keys = ("type", "status", "reason", "message")
    rows = [dict(zip(keys, row, strict=True)) | {"lastTransitionTime": WHEN} for row in SAID]
    kube.apply(INFERENCE_DEPLOYMENTS, {**wish, "status": {"conditions": rows, "selector": "app=x"}}, subresource="status")
    ended = {"exitCode": 1, "reason": "Error", "message": "ValueError: No available memory for the cache blocks."}
    container = {"restartCount": 6, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended}}
    metadata = {"name": "x-69d5f4ffdd-kn8vc", "namespace": "default", "labels": {"app": "x"}}
    kube.create(PODS, {"metadata": metadata, "spec": {}, "status": {"phase": "Running", "containerStatuses": [container]}})
    return "\n".join(status.lines_of(status.told_of(kube, "default", "x"), screen)) + "\n"


def of_doctor(screen: Screen) -> str:
    """A cluster with AMD's nodes too, and a model that cannot be read."""
    kube = healthy(AMD, H100)
    deployment(kube, status=conditions("ModelResolved", "False", "Unreachable"))
    return "\n".join(doctor.lines_of(found(kube), screen)) + "\n"


def piped(words: tuple[str, ...]) -> str:
    """What the command prints where its output is no terminal."""
    out, here = io.StringIO(), Path.cwd()
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            main(list(words))
    finally:
        os.chdir(here)
    return out.getvalue()


def all_screens() -> dict[str, str]:
    """Every file by its name."""
    drawn = {f"status-{name}": of_status(screen) for name, screen in SCREENS.items()}
    drawn |= {f"doctor-{name}": of_doctor(screen) for name, screen in SCREENS.items()}
    return drawn | {name: piped(words) for name, words in PIPED.items()}


if __name__ == "__main__":
    for name, text in all_screens().items():
        (FOLDER / f"{name}.txt").write_text(text, "utf-8")
