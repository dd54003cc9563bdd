"""The reasons of the estimator are one closed list, and each says what it is about."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import plimsoll_estimator
from plimsoll_estimator.checks import Check
from plimsoll_estimator.engine_args import EngineArgs

PACKAGE = Path(str(plimsoll_estimator.__file__)).parent


@pytest.mark.parametrize("check", Check)
def test_a_check_is_about_an_argument_the_model_the_gpu_or_the_release(check: Check) -> None:
    assert check.about in {field.name for field in dataclasses.fields(EngineArgs)} | {"model_config", "gpu", "engine_version"}
    assert re.fullmatch(r"([A-Z][a-z]+)+", check), "a reason of a Kubernetes condition is PascalCase"


def test_more_memory_may_come_from_another_layout() -> None:
    assert all(check.depends_on_layout for check in Check if check.of_memory)


def test_every_check_is_made_somewhere() -> None:
    made = {
        name
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "checks.py"
        for name in re.findall(r"\bCheck\.([A-Z_0-9]+)", path.read_text())
    }
    assert made == {check.name for check in Check}
