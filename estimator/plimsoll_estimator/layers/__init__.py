"""What models are built of, on one rank: each kind of layer, with its parameters and with the bytes its cache keeps.

Used by `models` and `towers`; `kv_cache` plans the needs that are made here. Knows no model line and no stored form of a weight.
"""

from __future__ import annotations
