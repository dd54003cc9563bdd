"""The admission webhook: an ASGI process of its own with its own caches, no network in the request path."""
