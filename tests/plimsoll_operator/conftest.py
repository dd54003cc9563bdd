"""Fixtures of the operator's tests: files of manifests."""

import pytest
import yaml
from tests.plimsoll_operator.decision_world import H100, L4, T4


@pytest.fixture
def files(tmp_path):
    def write(name, *objects):
        path = tmp_path / name
        path.write_text(yaml.safe_dump_all(objects))
        return str(path)

    write("nodes.yaml", {"kind": "NodeList", "apiVersion": "v1", "items": [H100, L4, T4]})
    return write
