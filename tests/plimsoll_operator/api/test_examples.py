"""Every file of examples/ is a whole InferenceDeployment that the API accepts and the code honours in every field."""

from pathlib import Path

import pytest
import yaml
from tests.folders import ROOT

from plimsoll_operator.api import parse_inference_deployment, unsupported_fields

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_accepted_and_explains_itself(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# "), "it opens with a sentence that says what it shows"
    deployment = parse_inference_deployment(yaml.safe_load(text))
    assert unsupported_fields(deployment.spec) == []
