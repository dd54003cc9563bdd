"""Shapes that nobody has described: read on demand by the leader, once for all who wait, and stored as profiles."""
