"""The manifests that are kept: deployments of stated nodes, what `plimsoll render` makes of them, and the lists that vLLM is started with.

    python -m tests.engine.manifests                                     write what is rendered anew (`make shown`)
    python -m tests.engine.manifests --python VENV/bin/python --release 0.19.1    put that release's lists to it, and keep its answers

Wishes, nodes and shapes are in tests/data/rendered, public manifests in tests/data/imported; beside each file of wishes lies what is
rendered of it. A list is read off the rendered pod as a kubelet and its shell would make it. An answer counts for the list that it was
given to, by its digest: who changes a list puts it to the engine again. Refuses to decide: the command is asked.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.documents import documents
from tests.engine.hearing import Put, card, catalogued, heard

from plimsoll_operator.api import ENGINE_CONTAINER, Manifest, Plan
from plimsoll_operator.cli import main as plimsoll
from plimsoll_operator.cli.load import load
from plimsoll_operator.facts import ModelFacts
from plimsoll_operator.gather import facts_for
from plimsoll_operator.names import PLAN_ANNOTATION

DATA = Path(__file__).resolve().parents[1] / "data"
RENDERED, IMPORTED = DATA / "rendered", DATA / "imported"
ANSWERS = RENDERED / "answers.jsonl"
PUBLIC_NODES = IMPORTED / "nodes.yaml"
NODES, PROFILES = RENDERED / "nodes.yaml", RENDERED / "profiles.yaml"
GROUPS = ("families", "quantised", "layouts", "cards", "sources", "extensions")
ASSUMED = "0.32.0"
"""The release put in where a public manifest names none: the newest that has a build without CUDA."""
PLANNED = (
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "decode_context_parallel_size", "enable_expert_parallel",
    "max_model_len", "max_num_seqs", "max_num_batched_tokens", "dtype", "quantization", "kv_cache_dtype",
)  # fmt: skip
"""What a plan and the engine's configuration both hold, by one name."""
KEPT = (*PLANNED, "uses_v0_engine")
SHARE = "--gpu-memory-utilization"
_ESTIMATED = (
    r'"(allocated_bytes|predicted|kv_cache_interval_bytes|kv_cache_needed_bytes|kv_cache_tokens|max_concurrency|host_memory_bytes)":'
    r'(?:\[[^\]]*\]|\{[^}]*\}|"[^"]*"|\d+)',
    r'"(gpu_memory_utilization)":"[0-9.]+"',
    rf"({SHARE})=[0-9.]+",
    r"((?:plan|template)-digest): \S+",
    r"(memory): \d+Mi",
)
"""Figures of the estimate in what is rendered, and digests of plans that hold them."""
_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_SHELL = "#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done\n"
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Rendered:
    """One pod's list as its engine is started with it, and the plan that it follows."""

    name: str
    argv: tuple[str, ...]
    plan: Plan

    @property
    def deployment(self) -> str:
        """Group and deployment."""
        return "/".join(self.name.split("/")[:-1])

    @property
    def digest(self) -> str:
        """Of the list without the share of memory, which vLLM takes as it is given and which moves with every figure of the estimate."""
        words = [word.partition("=")[0] if word.startswith(f"{SHARE}=") else word for word in self.argv]
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def public() -> tuple[str, ...]:
    """Groups of the public manifests whose lists are put to vLLM, one a file."""
    rows = json.loads((IMPORTED / "sources.json").read_text("utf-8"))
    return tuple(f"imported/{Path(row['file']).stem}" for row in rows if row.get("put", True))


def nodes(group: str) -> Path:
    """What a group is planned on: for public manifests, which pin no lengths, cards that hold what they ask for with room to spare."""
    return PUBLIC_NODES if "/" in group else NODES


def golden(group: str) -> Path:
    """Where what is rendered of a group is kept."""
    folder = DATA if "/" in group else RENDERED
    return folder / f"{group}.rendered.yaml"


@contextlib.contextmanager
def wishes(group: str) -> Iterator[Path]:
    """The group's file; of a public manifest what it becomes on import."""
    if "/" not in group:
        yield RENDERED / f"{group}.yaml"
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "imported.yaml"
        file.write_text(printed("import", "-f", str(DATA / f"{group}.yaml"), "--engine-version", ASSUMED)[0], "utf-8")
        yield file


def printed(*words: str) -> tuple[str, str]:
    """What the command prints, and what it says beside."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        plimsoll(list(words))
    return out.getvalue(), err.getvalue()


def rendered(group: str) -> str:
    """The objects that a group becomes as they are printed, and in comments why some of it becomes none."""
    with wishes(group) as file:
        out, err = printed("render", "-f", str(file), "--nodes", str(nodes(group)), "--profiles", str(PROFILES), "--leader-worker-set")
    return out + "".join(f"# {line}\n" for line in err.splitlines())


def settled(text: str) -> str:
    """What is rendered without the figures of the estimate: they move with what is learned of vLLM, and have tests of their own."""
    for figure in _ESTIMATED:
        text = re.sub(figure, r"\1", text)
    return text


@cache
def objects(group: str) -> tuple[Manifest, ...]:
    """A group's objects as they are kept; read once."""
    return tuple(documents(golden(group).read_text("utf-8")))


def lists(group: str) -> list[Rendered]:
    """The lists of a group's kept pods, each with the plan of its workload."""
    found = []
    for item in objects(group):
        text = item["metadata"].get("annotations", {}).get(PLAN_ANNOTATION)
        if text is None:
            continue
        name = item["metadata"]["labels"]["app.kubernetes.io/instance"]
        plan = Plan.from_json(text)
        found += [
            Rendered(name=f"{group}/{name}/{role}", argv=started(pod, rank), plan=plan) for rank, (role, pod) in enumerate(pods(item))
        ]
    return found


def pods(workload: Manifest) -> list[tuple[str, Manifest]]:
    """Pod templates by their role."""
    spec = workload["spec"]
    if workload["kind"] == "Deployment":
        return [("engine", spec["template"])]
    group = spec["leaderWorkerTemplate"]
    return [("leader", group["leaderTemplate"]), ("worker", group["workerTemplate"])]


def started(pod: Manifest, rank: int) -> tuple[str, ...]:
    """What follows `vllm serve` in a pod's engine: variables as the kubelet puts them in, and a shell's words as it makes them."""
    engine = next(one for one in pod["spec"]["containers"] if one["name"] == ENGINE_CONTAINER)
    variables = {"LWS_LEADER_ADDRESS": _HOST, "LWS_WORKER_INDEX": str(rank)}
    variables |= {one["name"]: one.get("value", _HOST) for one in engine.get("env", [])}
    command, *rest = (put_in(word, variables) for word in (*engine["command"], *engine["args"]))
    if command == "vllm":
        assert rest[0] == "serve"
        return tuple(rest[1:])
    assert command == "/bin/sh"
    with tempfile.TemporaryDirectory() as folder:
        stand_in = Path(folder) / "vllm"
        stand_in.write_text(_SHELL)
        stand_in.chmod(0o755)
        done = subprocess.run([command, *rest], env=variables | {"PATH": folder}, capture_output=True, text=True, check=True)
    words = done.stdout.split("\0")[:-1]
    assert words[0] == "serve"
    return tuple(words[1:])


def put_in(text: str, variables: Mapping[str, str]) -> str:
    """As Kubernetes expands a container's command and arguments: $(NAME) that it knows, and one $ for two."""
    return _VARIABLE.sub(lambda found: "$" if found[1] is None else variables.get(found[1], found[0]), text)


def differing(plan: Plan, resolved: Mapping[str, Any]) -> list[str]:
    """Names of the plan's values that the engine resolves otherwise."""
    names = [name for name in PLANNED if getattr(plan, name) != resolved[name]]
    return [*names, "V0 engine"] if resolved["uses_v0_engine"] else names


def kept() -> dict[str, dict[str, Any]]:
    """The answers by the lists' names."""
    rows = map(json.loads, ANSWERS.read_text("utf-8").splitlines()) if ANSWERS.exists() else ()
    return {row["list"]: row for row in rows}


def _configs(groups: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """config.json of each deployment's model by group and name, as the decision has it."""
    found = {}
    for group in groups:
        with wishes(group) as file:
            options = argparse.Namespace(leader_worker_set=True, nodes=[nodes(group)], profiles=[PROFILES], namespace=None)
            world = load(options, [file])
        for item in world.deployments:
            model = facts_for(item, world, applied_plan=None).model
            if isinstance(model, ModelFacts):
                found[f"{group}/{item.metadata.name}"] = model.config.as_mapping()
    return found


def _here(word: str) -> str:
    """A template that a pod mounts is no file here: the server takes one as text too."""
    return "--chat-template={{ messages }}" if word.startswith("--chat-template=/") else word


def put(python: str, release: str) -> int:
    """Put every list of a release that it has not answered yet to it and keep its answers; the number of those that it refuses or resolves
    otherwise."""
    groups = (*GROUPS, *public())
    before = {name: row["digest"] for name, row in kept().items()}
    own = [one for group in groups for one in lists(group) if one.plan.engine_version == release]
    asked = [one for one in own if before.get(one.name) != one.digest]
    if not asked:
        print(f"vLLM {release}: no list of {len(own)} has changed")
        return 0
    cards = {one.name: card(one.plan.product, one.plan.gpu_total_bytes) for one in asked}
    questions = [Put(name=one.name, card=cards[one.name], argv=(one.deployment, *map(_here, one.argv[1:]))) for one in asked]
    answers = heard(questions, catalogued() | _configs(groups), python)
    rows, wrong = kept(), 0
    for one in asked:
        answer = answers[one.name]
        resolved = answer.get("resolved")
        told = [str(answer.get("refused"))] if resolved is None else differing(one.plan, resolved)
        if resolved is not None and resolved["gpu_memory_utilization"] != float(one.plan.gpu_memory_utilization):
            told.append("gpu_memory_utilization")
        if told:
            wrong += 1
            print(f"{one.name}: {', '.join(told)}: {resolved}\n    vllm serve {' '.join(one.argv)}")
        said = {"refused": answer["refused"]} if resolved is None else {"resolved": {key: resolved[key] for key in KEPT}}
        rows[one.name] = {"list": one.name, "release": release, "digest": one.digest, **said}
    now = [one.name for group in groups for one in lists(group)]
    ANSWERS.write_text("".join(f"{json.dumps(rows[name])}\n" for name in now if name in rows), "utf-8")
    print(f"vLLM {release}: {len(asked)} lists asked, {wrong} answered otherwise")
    return wrong


def main(arguments: list[str]) -> int:
    """Write what is rendered, or put it to a release."""
    parser = argparse.ArgumentParser(prog="python -m tests.engine.manifests")
    parser.add_argument("--python", help="a Python that has the release's CPU build")
    parser.add_argument("--release")
    chosen = parser.parse_args(arguments)
    if chosen.release is not None:
        return 1 if put(chosen.python, chosen.release) else 0
    for group in (*GROUPS, *public()):
        golden(group).write_text(rendered(group), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
