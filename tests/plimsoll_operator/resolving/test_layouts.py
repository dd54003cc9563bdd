"""Profiles made from header bytes over HTTP equal the exact counts: small real files, and published models as they are laid out."""

import json
import struct
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.plimsoll_operator.checkpoints import TINY, WIDTHS, Tensors, bytes_of, header, tiny_tensors, write_checkpoint
from tests.plimsoll_operator.hub_server import MODEL, HubServer, Repo, serving

from plimsoll_estimator import catalogue
from plimsoll_operator.controller.resolving.fetcher import Fetched
from plimsoll_operator.controller.resolving.hub import HubFetcher
from plimsoll_operator.profiles.access import Access
from plimsoll_operator.read_request import OperatorHub, ReadRequest


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with serving() as server:
        yield server


def read(hub: HubServer, model: str) -> dict[str, int]:
    fetcher = HubFetcher(Access(endpoint=hub.url, token=lambda: None), offline=False, clock=lambda: 0.0, now=lambda: datetime.now(UTC))
    found = fetcher.fetch(ReadRequest(namespace="", model=model, revision="main", source=OperatorHub()), threading.Event())
    assert isinstance(found, Fetched), found
    assert found.spec.weights is not None
    return {row.dtype: row.bytes for row in found.spec.weights.by_dtype}


def fp8(tensors: Tensors) -> Tensors:
    """Linears as block-quantised checkpoints store them: one byte a weight, and a scale for each block of 128 by 128."""
    found: Tensors = {}
    for name, (dtype, shape) in tensors.items():
        linear = name.endswith("_proj.weight")
        found[name] = ("F8_E4M3" if linear else dtype, shape)
        if linear:
            found[name.replace(".weight", ".weight_scale_inv")] = ("BF16", [-(-side // 128) for side in shape])
    return found


def untied(tensors: Tensors) -> Tensors:
    return tensors | {"lm_head.weight": ("BF16", tensors["model.embed_tokens.weight"][1])}


SMALL = [
    ("a single file, tied", tiny_tensors(), 1),
    ("with a head of its own", untied(tiny_tensors()), 1),
    ("three shards and their index", untied(tiny_tensors()), 3),
    ("quantised in blocks", fp8(tiny_tensors()), 2),
]


@pytest.mark.parametrize(("why", "tensors", "shards"), SMALL, ids=[row[0] for row in SMALL])
def test_small_files_of_the_safetensors_library(why: str, tensors: Tensors, shards: int, hub: HubServer, tmp_path: Path) -> None:
    total = write_checkpoint(tmp_path, config=TINY, tensors=tensors, shards=shards)
    hub.repos[MODEL] = Repo(files={path.name: path.read_bytes() for path in tmp_path.iterdir()})
    found = read(hub, MODEL)
    assert sum(found.values()) == total
    for dtype in found:
        assert found[dtype] == bytes_of({name: row for name, row in tensors.items() if row[0] == dtype})


def published(config: Mapping[str, Any], *, head: bool) -> Tensors:
    """Names and shapes of a Llama or Qwen 3 checkpoint, as Hugging Face names them."""
    hidden, mlp = config["hidden_size"], config["intermediate_size"]
    width = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries, keys = width * config["num_attention_heads"], width * config["num_key_value_heads"]
    tensors = {"model.embed_tokens.weight": ("BF16", [config["vocab_size"], hidden]), "model.norm.weight": ("BF16", [hidden])}
    shapes = {"self_attn.q_proj": [queries, hidden], "self_attn.k_proj": [keys, hidden], "self_attn.v_proj": [keys, hidden]}
    shapes |= {"self_attn.o_proj": [hidden, queries], "mlp.gate_proj": [mlp, hidden], "mlp.up_proj": [mlp, hidden]}
    shapes |= {"mlp.down_proj": [hidden, mlp], "input_layernorm": [hidden], "post_attention_layernorm": [hidden]}
    if config["model_type"] == "qwen3":
        shapes |= {"self_attn.q_norm": [width], "self_attn.k_norm": [width]}
    for layer in range(config["num_hidden_layers"]):
        tensors |= {f"model.layers.{layer}.{name}.weight": ("BF16", shape) for name, shape in shapes.items()}
    return untied(tensors) if head else tensors


def serve_headers(hub: HubServer, model: str, config: Mapping[str, Any], tensors: Tensors, shards: int) -> None:
    """Headers alone: what is claimed to lie behind them is never asked for."""
    files = {"config.json": json.dumps(dict(config)).encode()}
    sizes: dict[str, int] = {}
    index: dict[str, str] = {}
    names = sorted(tensors)
    for number in range(shards):
        file = "model.safetensors" if shards == 1 else f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        entries, data_bytes = header({name: tensors[name] for name in names[number::shards]})
        text = json.dumps(entries).encode()
        files[file] = struct.pack("<Q", len(text)) + text
        sizes[file] = len(files[file]) + data_bytes
        index |= dict.fromkeys(names[number::shards], file)
    if shards > 1:
        files["model.safetensors.index.json"] = json.dumps({"weight_map": index}).encode()
    hub.repos[model] = Repo(files=files, sizes=sizes)


PUBLISHED = [
    ("single file, tied", "HuggingFaceTB/SmolLM2-135M-Instruct", 1, False, False),
    ("tied, and its head stored all the same", "Qwen/Qwen3-0.6B", 1, True, False),
    ("four shards", "meta-llama/Llama-3.1-8B-Instruct", 4, True, False),
    ("quantised in blocks", "Qwen/Qwen3-8B-FP8", 2, True, True),
]


@pytest.mark.parametrize(("why", "model", "shards", "head", "quantised"), PUBLISHED, ids=[row[1] for row in PUBLISHED])
def test_published_layouts_equal_the_catalogues_exact_counts(
    why: str, model: str, shards: int, head: bool, quantised: bool, hub: HubServer
) -> None:
    entry = catalogue.entry(model)
    assert entry is not None
    config = entry.config.as_mapping()
    tensors = published(config, head=head)
    serve_headers(hub, model, config, fp8(tensors) if quantised else tensors, shards)
    hub.seen.clear()
    found = read(hub, model)
    assert sum(size // WIDTHS[dtype] for dtype, size in found.items()) == entry.stored_parameters
    assert len(hub.seen) == 2 + shards + (shards > 1)
