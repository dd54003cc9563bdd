"""Totals by dtype from safetensors headers: 8 bytes of length (little endian), then JSON; tensors lie behind it.

Called by `build`. Trusts nothing: lengths are checked before they are read, offsets before they are added. Format: the
safetensors project's README. Refuses to know what a tensor is for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Final, NamedTuple, NoReturn

from plimsoll_estimator import InvalidInput
from plimsoll_operator.profiles.source import Source, one_large_at_a_time

MAX_HEADER_BYTES: Final = 32 << 20
"""Some 250 000 tensors in one file. The safetensors library itself stops at 100 MB, which take half a GiB to read."""
_LENGTH_BYTES: Final = 8
_FIRST_READ_BYTES: Final = 128 << 10
"""Most headers are shorter, so that one read suffices."""
_MAX_DTYPE: Final = 32


def dtype_totals(source: Source, name: str, file_bytes: int) -> Mapping[str, int]:
    """Bytes of tensors by dtype of one file of `file_bytes`. Raises InvalidInput naming file, value and limit; SourceFailure."""
    start = source.read(name, 0, min(_FIRST_READ_BYTES, file_bytes))
    if len(start) < _LENGTH_BYTES:
        raise InvalidInput(name, len(start), f"bytes are too few: a safetensors file starts with {_LENGTH_BYTES} bytes of header length")
    header_bytes = int.from_bytes(start[:_LENGTH_BYTES], "little")
    if header_bytes > MAX_HEADER_BYTES:
        raise InvalidInput(f"{name}: header length", header_bytes, f"must be at most {MAX_HEADER_BYTES} bytes")
    data_bytes = file_bytes - _LENGTH_BYTES - header_bytes
    if data_bytes < 0:
        raise InvalidInput(f"{name}: header length", header_bytes, f"is more than the file holds ({file_bytes} bytes): it is cut off")
    with one_large_at_a_time(header_bytes):
        header = start[_LENGTH_BYTES : _LENGTH_BYTES + header_bytes]
        if len(header) < header_bytes:
            header += source.read(name, _LENGTH_BYTES + len(header), header_bytes - len(header))
        if len(header) < header_bytes:
            raise InvalidInput(f"{name}: header", len(header), f"bytes came of {header_bytes}: it is cut off")
        return _summed(name, _parsed(name, header), data_bytes)


def _parsed(name: str, header: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(header, object_pairs_hook=_compact)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name}: header", header[:40], f"is not JSON: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{name}: header", found, "must be a JSON object")
    return found


class _Tensor(NamedTuple):
    """One well-formed entry: all that is kept of it while a header of up to a million of them is read."""

    dtype: str
    begin: int
    end: int


def _compact(pairs: list[tuple[str, object]]) -> object:
    """An object as json hands it over, innermost first; what is no well-formed entry stays as it is, to be refused by name."""
    entry = dict(pairs)
    dtype, offsets = entry.get("dtype"), entry.get("data_offsets")
    if isinstance(dtype, str) and isinstance(offsets, list) and len(offsets) == 2 and all(type(offset) is int for offset in offsets):
        return _Tensor(sys.intern(dtype), offsets[0], offsets[1])
    return entry


def _summed(name: str, header: Mapping[str, object], data_bytes: int) -> Mapping[str, int]:
    totals: dict[str, int] = {}
    for tensor, entry in header.items():
        if tensor == "__metadata__":
            continue
        where = f"{name}: {tensor[:120]}"
        if not isinstance(entry, _Tensor):
            _refuse(where, entry)
        dtype, begin, end = entry
        if not 0 < len(dtype) <= _MAX_DTYPE or not dtype.isascii():
            raise InvalidInput(f"{where}: dtype", dtype, f"must be a text of at most {_MAX_DTYPE} ASCII characters")
        if not 0 <= begin <= end <= data_bytes:
            raise InvalidInput(f"{where}: data_offsets", [begin, end], f"must rise and lie within the file's {data_bytes} bytes of tensors")
        totals[dtype] = totals.get(dtype, 0) + end - begin
    if sum(totals.values()) > data_bytes:
        raise InvalidInput(f"{name}: tensors", sum(totals.values()), f"bytes overlap: the file holds {data_bytes} bytes of tensors")
    return totals


def _refuse(where: str, entry: object) -> NoReturn:
    if not isinstance(entry, dict):
        raise InvalidInput(where, entry, "must be an object with dtype and data_offsets")
    if not isinstance(entry.get("dtype"), str):
        raise InvalidInput(f"{where}: dtype", entry.get("dtype"), f"must be a text of at most {_MAX_DTYPE} ASCII characters")
    raise InvalidInput(f"{where}: data_offsets", entry.get("data_offsets"), "must be two whole numbers")
