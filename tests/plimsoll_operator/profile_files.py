"""Configs, safetensors headers and files of models, for the tests of profiles."""

import json
import math
import struct

from plimsoll_operator.profiles.headers import MAX_HEADER_BYTES

WIDTH = {"BF16": 2, "F8_E4M3": 1, "F32": 4, "U8": 1}


CONFIG = {
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
    "id2label": {"0": "LABEL_0"},
}


def header(tensors):
    entries, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape) in tensors.items():
        end = offset + WIDTH[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    return entries, offset


def safetensors(path, tensors):
    """One file in the safetensors format; the tensors are a hole, as only the header is to be read."""
    entries, data_bytes = header(tensors)
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + data_bytes)


def llama(layers=2, head=True, linear="BF16"):
    tensors = {"model.embed_tokens.weight": ("BF16", [1024, 256]), "model.norm.weight": ("BF16", [256])}
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


def totals(tensors):
    found = {}
    for dtype, shape in tensors.values():
        found[dtype] = found.get(dtype, 0) + WIDTH[dtype] * math.prod(shape)
    return found


def prefixed(length, rest=b""):
    return struct.pack("<Q", length) + rest


def entry(**fields):
    text = json.dumps({"w": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]} | fields}).encode()
    return prefixed(len(text), text + b"\0" * 8)


HOSTILE = [
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
