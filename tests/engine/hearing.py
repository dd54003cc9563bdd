"""Puts lists of arguments to a release's own Python and hears its answers: one run of oracle.py, with the configs that it reads on disk.

Called by the commands of this folder. Knows neither wishes nor plans.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plimsoll_estimator import catalogue, gpu_from

ORACLE = Path(__file__).with_name("oracle.py")


@dataclass(frozen=True)
class Put:
    """A list of arguments under a name, and what the driver of the node says of its card."""

    name: str
    card: Mapping[str, Any]
    argv: tuple[str, ...]


def card(product: str, total_bytes: int | None = None) -> dict[str, Any]:
    """What a driver says of a product, or of a slice of one that has so many bytes."""
    gpu = gpu_from(product.partition("-MIG-")[0])
    major, minor = gpu.compute_capability
    return {"name": product.replace("-", " "), "major": major, "minor": minor, "total": total_bytes or gpu.total_memory_bytes}


def catalogued() -> dict[str, Mapping[str, Any]]:
    """Configs of the catalogue by their models' names."""
    found = {name: catalogue.lookup(name) for name in catalogue.names()}
    return {name: config.as_mapping() for name, config in found.items() if config is not None}


def heard(asked: Iterable[Put], configs: Mapping[str, Mapping[str, Any]], python: str) -> dict[str, dict[str, Any]]:
    """The engine's answers by the lists' names; `configs` are the config.json of the folders that lists name. Raises RuntimeError."""
    lines = [json.dumps({"id": one.name, "card": dict(one.card), "argv": one.argv}) for one in asked]
    with tempfile.TemporaryDirectory() as folder:
        for name, config in configs.items():
            place = Path(folder) / name
            place.mkdir(parents=True, exist_ok=True)
            (place / "config.json").write_text(json.dumps(dict(config)))
        given = "".join(f"{line}\n" for line in lines)
        done = subprocess.run([python, "-B", str(ORACLE), folder], input=given, capture_output=True, text=True, check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(answers) != len(lines):
        raise RuntimeError(f"{len(answers)} answers to {len(lines)} questions: {done.stderr[-2000:]}")
    return {answer["id"]: answer for answer in answers}
