"""Fixtures of all tests: a stand-in for the hub, alone and as the one that HF_ENDPOINT names."""

import json
from contextlib import ExitStack

import pytest
from tests.plimsoll_operator.hub_server import TOKEN, serving
from tests.plimsoll_operator.profile_files import CONFIG, llama, safetensors


@pytest.fixture
def servers():
    with ExitStack() as stack:
        yield lambda host="127.0.0.1": stack.enter_context(serving(host))


@pytest.fixture
def hub(servers, monkeypatch, tmp_path):
    server = servers()
    safetensors(tmp_path / "w", llama())
    server.files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": (tmp_path / "w").read_bytes(), "README.md": b"x"}
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return server
