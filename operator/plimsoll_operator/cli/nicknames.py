"""What people call GPUs and models, and which product of the table or model of the catalogue that is.

Called by commands that take a name from a person, never for a label or a manifest: there a name is what it says and nothing else.
Guesses nothing silently: who takes the first of several is handed the others to name. Knows names, no memory arithmetic.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Final

from plimsoll_estimator import GIB, InvalidInput, catalogue, known_gpus

_COUNTED: Final = re.compile(r"(?a)(\d{1,3})\s*[x*]\s*(\S.*)", re.IGNORECASE)
_COUNT_BEHIND: Final = re.compile(r"(?a)(\S.*?)\s*[:*]\s*(\d{1,3})")
_WORDS: Final = re.compile(r"[a-z0-9.]+")
_GIGABYTES: Final = re.compile(r"(?a)(\d{1,3})(?:gb|g|gib)")
_VENDORS: Final = frozenset({"nvidia", "tesla", "geforce", "gpu", "gpus", "gddr6", "hbm2", "hbm2e"})
_NEAR_PERCENT: Final = 10  # what CUDA reports is up to 9 % less than what the box says, and 16 and 24 GB are farther apart
_ALIKE: Final = 2 * GIB
_MOST_TEXT: Final = 128
_MOST_GPUS: Final = 64
_TUNED: Final = ("", "-instruct", "-it", "-chat", "-hf", "-instruct-hf", "-chat-hf", "-instruct-v0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedGpu:
    """What a person's word for a GPU stands for: products of the table, the first the one to take where one is needed.

    `gpus` is the count that came with it ("2xH100"), None without one.
    """

    products: tuple[str, ...]
    gpus: int | None


def gpu_named(text: str, option: str, otherwise: str = "`plimsoll gpus` lists those that are") -> NamedGpu:
    """The products of the table a word stands for: H100, a100-80gb, 4090, nvidia-tesla-t4, 2xH100, or the product as it is labelled.

    Of products alike in memory the first of the table: h100 is the 80 GB card on its socket, and the NVL of 94 GB.
    Raises InvalidInput naming `option`, with the products that the word resembles, or what to do `otherwise`.
    """
    found = gpu_among(text, option, tuple(known_gpus()), otherwise)
    apart: list[str] = []
    for product in found.products:
        if all(abs(known_gpus()[product].total_memory_bytes - known_gpus()[other].total_memory_bytes) >= _ALIKE for other in apart):
            apart.append(product)
    return NamedGpu(products=tuple(apart), gpus=found.gpus)


def gpu_among(text: str, option: str, products: tuple[str, ...], otherwise: str) -> NamedGpu:
    """The same among the given products, as a cluster has them. Raises InvalidInput, `otherwise` for what resembles none."""
    word, gpus = _counted(text.strip()[:_MOST_TEXT], option)
    found = _meant(word, products)
    if not found:
        near = _resembling(word, products)
        why = f"did you mean {' or '.join(near)}?" if near else otherwise
        raise InvalidInput(option, text, f"names no GPU here: {why}")
    return NamedGpu(products=found, gpus=gpus)


def _counted(text: str, option: str) -> tuple[str, int | None]:
    before, behind = _COUNTED.fullmatch(text), _COUNT_BEHIND.fullmatch(text)
    if before is None and behind is None:
        return text, None
    count, word = (int(before[1]), before[2]) if before is not None else _behind(behind)
    if not 1 <= count <= _MOST_GPUS:
        raise InvalidInput(option, text, f"must count from 1 to {_MOST_GPUS} GPUs")
    return word, count


def _behind(match: re.Match[str] | None) -> tuple[int, str]:
    return (int(match[2]), match[1]) if match is not None else (0, "")


def _meant(word: str, products: tuple[str, ...]) -> tuple[str, ...]:
    """Products that the word names: exactly, by all of its parts, or run together; laptops' only where they are named."""
    exact = [product for product in products if product.lower() == word.lower()]
    if exact:
        return tuple(exact)
    parts = _parts(word)
    found = [product for product in products if parts and all(_has(product, part) for part in parts)]
    together = "".join(parts)
    if not found and len(together) > 1:
        found = [product for product in products if together in _run_together(product)]
    return tuple(product for product in found if "laptop" in word.lower() or "laptop" not in product.lower())


def _run_together(product: str) -> set[str]:
    """What neighbouring parts of the name are when nothing is written between them: rtx4090, h100pcie."""
    parts = _WORDS.findall(product.lower())
    return {"".join(parts[first:last]) for first in range(len(parts)) for last in range(first + 1, len(parts) + 1)}


def _parts(word: str) -> list[str]:
    """The word's parts without the maker's name, unless that is all there is."""
    parts = _WORDS.findall(word.lower())
    return [part for part in parts if part not in _VENDORS] or parts


def _has(product: str, part: str) -> bool:
    """Whether the product's name has the part, or its memory or its socket is what the part says."""
    if part in _WORDS.findall(product.lower()):
        return True
    known = known_gpus().get(product)
    if known is None:
        return False
    size = _GIGABYTES.fullmatch(part)
    if size is not None:
        return abs(int(size[1]) * GIB - known.total_memory_bytes) * 100 <= int(size[1]) * GIB * _NEAR_PERCENT
    return part in ("sxm", "sxm4", "sxm5") and known.interconnect == "nvlink" and not _has(product, "nvl")


def _resembling(word: str, products: tuple[str, ...]) -> tuple[str, ...]:
    """Up to three products: those that all but the memory fits, else those whose own word is spelled much like one of these."""
    parts = [part for part in _parts(word) if _GIGABYTES.fullmatch(part) is None]
    found = [product for product in products if parts and all(_has(product, part) for part in parts)]
    if not found:
        own = {part: product for product in reversed(products) for part in _WORDS.findall(product.lower()) if any(map(str.isdigit, part))}
        alike = [like for part in parts for like in difflib.get_close_matches(part, own, n=3, cutoff=0.75)]
        found = [own[like] for like in dict.fromkeys(alike)]
    return tuple(found[:3])


def model_called(name: str) -> str | None:
    """The catalogue's model that a person's name means: llama-3.1-8b, qwen3-8b, llama3.3-70b; None where it has none of that name.

    Case, organisation and punctuation aside; where there is no model of the bare name, the one tuned to follow instructions.
    """
    if catalogue.entry(name) is not None:
        return name
    text = name.strip()[:_MOST_TEXT].lower()
    owner, _, last = text.rpartition("/")
    for ending in _TUNED:
        wanted = _flat(last + ending)
        for known in catalogue.names():
            organisation, _, model = known.lower().rpartition("/")
            if owner in ("", organisation) and wanted and wanted in (_flat(model), _flat(model.removeprefix("meta-"))):
                return known
    return None


def _flat(text: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", text)
