"""Fixtures of all tests: a stand-in for the hub, alone and as the one that HF_ENDPOINT names."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.laws import register_profiles
from tests.plimsoll_operator.checkpoints import CONFIG, llama, safetensors
from tests.plimsoll_operator.hub_server import TOKEN, HubServer, serving

register_profiles()


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
