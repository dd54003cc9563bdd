"""Small checkpoints, as files of the safetensors format: real ones by its library, hollow ones by hand, and hostile ones.

Called by every test that has a model read. Tensors are by name: dtype as the format spells it, and shape.
"""

from __future__ import annotations

import ctypes
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from safetensors import TensorSpec, serialize_file

from plimsoll_operator.profiles.headers import MAX_HEADER_BYTES

Tensors: TypeAlias = dict[str, tuple[str, list[int]]]

NAMES: Final = {"BF16": "bfloat16", "F32": "float32", "F8_E4M3": "float8_e4m3fn", "U8": "uint8"}
WIDTHS: Final = {"BF16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1}
_DIMENSIONS: Final[dict[str, Any]] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
}
TINY: Final[dict[str, Any]] = _DIMENSIONS | {"tie_word_embeddings": True}
CONFIG: Final[dict[str, Any]] = _DIMENSIONS | {"id2label": {"0": "LABEL_0"}}
"""The same model with an output head of its own, and a key that no estimate asks for."""


def llama(layers: int = 2, *, head: bool = True, linear: str = "BF16") -> Tensors:
    """Names, dtypes and shapes of the tensors of CONFIG as Hugging Face's Llama names them; without `head` those of TINY."""
    tensors: Tensors = {"model.embed_tokens.weight": ("BF16", [1024, 256]), "model.norm.weight": ("BF16", [256])}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, shape in [("q_proj", [256, 256]), ("k_proj", [64, 256]), ("v_proj", [64, 256]), ("o_proj", [256, 256])]:
            tensors[f"{prefix}self_attn.{name}.weight"] = (linear, shape)
        for name, shape in [("gate_proj", [512, 256]), ("up_proj", [512, 256]), ("down_proj", [256, 512])]:
            tensors[f"{prefix}mlp.{name}.weight"] = (linear, shape)
        tensors[f"{prefix}input_layernorm.weight"] = tensors[f"{prefix}post_attention_layernorm.weight"] = ("BF16", [256])
    if head:
        tensors["lm_head.weight"] = ("BF16", [1024, 256])
    return tensors


def tiny_tensors(layers: int = 2) -> Tensors:
    """The tensors of TINY."""
    return llama(layers, head=False)


def totals(tensors: Tensors) -> dict[str, int]:
    """Bytes by dtype."""
    found: dict[str, int] = {}
    for dtype, shape in tensors.values():
        found[dtype] = found.get(dtype, 0) + WIDTHS[dtype] * math.prod(shape)
    return found


def bytes_of(tensors: Tensors) -> int:
    """Bytes of all of them."""
    return sum(totals(tensors).values())


def header(tensors: Tensors) -> tuple[dict[str, Any], int]:
    """The header of a file that has them, and the bytes that follow it."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + WIDTHS[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    return entries, offset


def safetensors(path: Path, tensors: Tensors) -> None:
    """One file in the safetensors format; the tensors are a hole, as only the header is to be read."""
    entries, data_bytes = header(tensors)
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + data_bytes)


def write_tensors(path: Path, tensors: Tensors) -> None:
    """One file in the safetensors format, by the library itself."""
    buffers = {name: ctypes.create_string_buffer(WIDTHS[dtype] * math.prod(shape)) for name, (dtype, shape) in tensors.items()}
    specs = {
        name: TensorSpec(dtype=NAMES[dtype], shape=shape, data_ptr=ctypes.addressof(buffers[name]), data_len=len(buffers[name]))
        for name, (dtype, shape) in tensors.items()
    }
    serialize_file(specs, str(path), {"format": "pt"})


def write_checkpoint(folder: Path, *, config: Mapping[str, Any] = TINY, tensors: Tensors | None = None, shards: int = 1) -> int:
    """config.json, the weights and, where they are several files, their index. Returns the bytes of all tensors."""
    tensors = tiny_tensors() if tensors is None else tensors
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        write_tensors(folder / "model.safetensors", tensors)
        return bytes_of(tensors)
    placed = {name: f"model-{number % shards + 1:05d}-of-{shards:05d}.safetensors" for number, name in enumerate(sorted(tensors))}
    for file in sorted(set(placed.values())):
        write_tensors(folder / file, {name: tensors[name] for name in tensors if placed[name] == file})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return bytes_of(tensors)


def prefixed(length: int, rest: bytes = b"") -> bytes:
    return struct.pack("<Q", length) + rest


def entry(**fields: object) -> bytes:
    text = json.dumps({"w": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]} | fields}).encode()
    return prefixed(len(text), text + b"\0" * 8)


HOSTILE: Final = [
    ("no length", b"\1\2\3", "bytes are too few"),
    ("10 GB claimed", prefixed(10_000_000_000, b"{}"), f"10000000000 must be at most {MAX_HEADER_BYTES}"),
    ("cut off in the header", prefixed(5000, b'{"w":'), "more than the file holds (13 bytes)"),
    ("not JSON", prefixed(4, b"\xff\xfe{}"), "is not JSON"),
    ("nested beyond the parser", prefixed(200_000, b"[" * 200_000), "is not JSON: RecursionError"),
    ("a list", prefixed(2, b"[]"), "must be a JSON object"),
    ("tensor is a text", prefixed(9, b'{"w":"x"}'), "must be an object with dtype"),
    ("dtype is a number", entry(dtype=7), "dtype: 7 must be a text"),
    ("offsets fall", entry(data_offsets=[8, 0]), "must rise and lie within the file's 8 bytes"),
    ("offsets beyond the file", entry(data_offsets=[0, 1 << 40]), "within the file's 8 bytes"),
    ("offsets are true", entry(data_offsets=[True, 8]), "must be two whole numbers"),
]
