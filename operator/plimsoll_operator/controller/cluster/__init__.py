"""What the cluster has, as the controller remembers it: informers that list and watch, trimmed copies, and each object parsed once.

Knows kinds and their shapes; decides nothing and writes nothing.
"""
