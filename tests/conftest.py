"""Fixtures of all tests: a stand-in for the hub, alone and as the one that HF_ENDPOINT names."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from tests.plimsoll_operator.checkpoints import CONFIG, llama, safetensors
from tests.plimsoll_operator.hub_server import TOKEN, HubServer, serving

# What a law takes says how busy the machine is, not whether it holds: pytest-timeout ends what hangs.
settings.register_profile("unhurried", parent=settings(), deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def servers() -> Iterator[Callable[..., HubServer]]:
    with ExitStack() as stack:
        yield lambda host="127.0.0.1": stack.enter_context(serving(host))


@pytest.fixture
def hub(servers: Callable[..., HubServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HubServer:
    server = servers()
    safetensors(tmp_path / "w", llama())
    server.files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": (tmp_path / "w").read_bytes(), "README.md": b"x"}
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return server
