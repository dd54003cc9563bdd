"""vLLM's model classes, one module a model line: the weights its classes build and the caches its layers keep, on one rank.

`register` is the one table that names them; `architectures` and `releases` are tables of names that `resolve` asks. Lines stand apart but
for the heirs that the import contract lists. They are made of `layers` and `towers`; none knows how a weight is stored, nor the planner.
"""

from __future__ import annotations
