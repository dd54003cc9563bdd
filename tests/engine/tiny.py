"""Writes a checkpoint that any machine can serve: a Llama of two layers with a tokenizer of bytes. Run inside a Python that has vLLM.

    VENV/bin/python tiny.py FOLDER

Its config.json is what FOLDER holds already, so that who plans it and who serves it read the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def main() -> None:
    """Write weights and tokenizer beside the config."""
    folder = Path(sys.argv[1])
    config = (folder / "config.json").read_text("utf-8")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: place for place, word in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**json.loads(config))).save_pretrained(folder)
    (folder / "config.json").write_text(config, "utf-8")


if __name__ == "__main__":
    main()
