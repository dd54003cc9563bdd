"""Makes the shipped catalogue of model shapes from a folder of collected config files.

    python -m tools.make_catalogue FOLDER [OUT]

FOLDER holds one JSON object a file (`org--name.json`) with the keys `model`, `config` (the Hugging Face config.json as
published), optionally `hf_quant_config` (ModelOpt's side file), `source` (repository, path, commit), `config_fidelity`,
`parameters` (published count of stored elements), `parameters_meta_device` (count of the built model class) and
`weights_bytes` (total size of a safetensors index). Files whose name starts with an underscore are skipped.

OUT is gzipped JSON Lines, sorted by name, written without a time stamp, so that the same folder gives the same bytes.
A line is the model's name, a tab, and its entry: reading one model parses one line. From the configs go only keys that
cannot move memory in any vLLM version (token ids, label maps, training and sampling settings, file bookkeeping); every
dimension, per-layer list and exclude list stays as published. A config without `architectures` gets the class that the model's
published file names, where it is known.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from plimsoll_operator.profiles.prune import DROPPED, QUANTISATION

DEFAULT_OUT = Path(__file__).parents[1] / "estimator" / "plimsoll_estimator" / "data" / "catalogue.jsonl.gz"
ARCHITECTURES = {  # the class that the published file names, for configs that were put together from class defaults and lack it
    "ernie4_5_moe": "Ernie4_5_MoeForCausalLM",
    "glm4": "Glm4ForCausalLM",
    "glm4_moe_lite": "Glm4MoeLiteForCausalLM",
    "glm4v": "Glm4vForConditionalGeneration",
    "jamba": "JambaForCausalLM",
    "kimi_linear": "KimiLinearForCausalLM",
    "mamba2": "Mamba2ForCausalLM",
    "minimax_m2": "MiniMaxM2ForCausalLM",
    "opt": "OPTForCausalLM",
    "phi": "PhiForCausalLM",
    "seed_oss": "SeedOssForCausalLM",
    "starcoder2": "Starcoder2ForCausalLM",
}

HEARS = ("google/gemma-4-E",)
"""Models whose published file has Gemma 4's audio tower where the collected one, derived from class dictionaries, has none."""

PREDICTS = {"zai-org/GLM-4.5": 1, "zai-org/GLM-4.5-Air": 1, "zai-org/GLM-4.7-Flash": 1, "baidu/ERNIE-4.5-21B-A3B-PT": 1}
"""Modules of multi-token prediction that the published checkpoint holds where the collected config, a class's or a test's, names none.
Source: what Transformers' classes pass over as they load it, one layer behind the last (models/glm4_moe, glm4_moe_lite:
_keys_to_ignore_on_load_unexpected), and the one block that vLLM's ernie_mtp.py looks for (mtp_block.0)."""


def prune(config: Any) -> Any:
    """The config without the dropped keys, at every depth except inside quantisation settings."""
    if isinstance(config, dict):
        return {k: v if k in QUANTISATION else prune(v) for k, v in config.items() if k not in DROPPED}
    return config


def source_text(source: Any) -> str:
    """`repository: path @ commit` of the first source."""
    first = source[0] if isinstance(source, list) else source
    text = f"{first.get('repo', 'unknown')}: {first.get('path', '')}"
    return f"{text} @ {first['commit'][:12]}" if first.get("commit") else text


def entry(data: dict[str, Any]) -> dict[str, Any]:
    """What the catalogue keeps of one file."""
    config = prune(data["config"])
    if not config.get("architectures") and config.get("model_type") in ARCHITECTURES:
        config["architectures"] = [ARCHITECTURES[config["model_type"]]]
    if data["model"].startswith(HEARS) and config.get("audio_config") is None:
        config["audio_config"] = {"model_type": "gemma4_audio"}
    if data["model"] in PREDICTS:
        config.setdefault("num_nextn_predict_layers", PREDICTS[data["model"]])
    text = config.get("text_config")
    nested = text.get("quantization_config") if isinstance(text, dict) else None
    if data.get("hf_quant_config") and not config.get("quantization_config") and not nested:
        config["quantization_config"] = {"quant_method": "modelopt", **data["hf_quant_config"]}
    kept = {
        "source": source_text(data["source"]),
        "fidelity": data["config_fidelity"],
        "parameters": data.get("parameters_meta_device") or data.get("parameters"),
        "stored_parameters": data.get("parameters"),
        "stored_bytes": data.get("weights_bytes"),
        "config": config,
    }
    return {key: value for key, value in kept.items() if value is not None}


def main(argv: list[str]) -> int:
    """Write the catalogue; say how many models and bytes."""
    folder, out = Path(argv[1]), Path(argv[2]) if len(argv) > 2 else DEFAULT_OUT
    entries = {}
    for path in sorted(folder.glob("*.json")):
        if not path.name.startswith("_"):
            data = json.loads(path.read_text())
            entries[data["model"]] = entry(data)
    lines = [f"{name}\t{json.dumps(entries[name], separators=(',', ':'), sort_keys=True)}\n" for name in sorted(entries, key=str.lower)]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(gzip.compress("".join(lines).encode(), 9, mtime=0))
    print(f"{len(entries)} models, {out.stat().st_size} bytes: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
