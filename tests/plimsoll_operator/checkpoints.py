"""Small real checkpoints: files written by the safetensors library, as a user's volume would hold them."""

import ctypes
import json
import math

from safetensors import TensorSpec, serialize_file

NAMES = {"BF16": "bfloat16", "F32": "float32", "F8_E4M3": "float8_e4m3fn", "U8": "uint8"}
WIDTHS = {"BF16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1}
TINY = {
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
    "tie_word_embeddings": True,
    "bos_token_id": 1,
}


def tiny_tensors(layers=2):
    """Names, dtypes and shapes of the tensors of TINY, as Hugging Face's Llama names them."""
    tensors = {"model.embed_tokens.weight": ("BF16", [1024, 256]), "model.norm.weight": ("BF16", [256])}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, shape in [("q_proj", [256, 256]), ("k_proj", [64, 256]), ("v_proj", [64, 256]), ("o_proj", [256, 256])]:
            tensors[f"{prefix}self_attn.{name}.weight"] = ("BF16", shape)
        for name, shape in [("gate_proj", [512, 256]), ("up_proj", [512, 256]), ("down_proj", [256, 512])]:
            tensors[f"{prefix}mlp.{name}.weight"] = ("BF16", shape)
        tensors[f"{prefix}input_layernorm.weight"] = tensors[f"{prefix}post_attention_layernorm.weight"] = ("BF16", [256])
    return tensors


def bytes_of(tensors):
    return sum(WIDTHS[dtype] * math.prod(shape) for dtype, shape in tensors.values())


def write_tensors(path, tensors):
    """One file in the safetensors format, by the library itself."""
    buffers = {name: ctypes.create_string_buffer(WIDTHS[dtype] * math.prod(shape)) for name, (dtype, shape) in tensors.items()}
    specs = {
        name: TensorSpec(dtype=NAMES[dtype], shape=shape, data_ptr=ctypes.addressof(buffers[name]), data_len=len(buffers[name]))
        for name, (dtype, shape) in tensors.items()
    }
    serialize_file(specs, str(path), {"format": "pt"})


def write_checkpoint(folder, *, config=TINY, tensors=None, shards=1):
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
