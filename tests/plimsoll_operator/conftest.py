"""Fixtures of the operator's tests: files of manifests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.plimsoll_operator.nodes import H100, L4, T4


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., str]:
    def write(name: str, *objects: Any) -> str:
        path = tmp_path / name
        path.write_text(yaml.safe_dump_all(objects))
        return str(path)

    write("nodes.yaml", {"kind": "NodeList", "apiVersion": "v1", "items": [H100, L4, T4]})
    return write
