"""What is searched: products and parallel layouts in the written order of preference, and moves of what is pinned.

`layouts` and `products` say what there is, `candidates` in which order it is tried, `evaluate` judges one, `search` takes the first
that fits, `moves` loosens pinned values. Makes no verdict.
"""
