"""The Kubernetes side of Plimsoll: API types, capacity, decision, rendering, controller, webhook, metrics and CLI."""
