"""The kubelet that plays reader pods over a folder of weights and a token."""

from pathlib import Path

import pytest
from tests.plimsoll_operator.checkpoints import write_checkpoint
from tests.plimsoll_operator.hub_server import TOKEN
from tests.plimsoll_operator.kubelet import Kubelet


@pytest.fixture
def kube(tmp_path: Path) -> Kubelet:
    write_checkpoint(tmp_path / "weights" / "llama", shards=2)
    found = Kubelet({"weights": tmp_path / "weights"}, {("hub", "token"): TOKEN})
    found.claim("team", "weights")
    return found
