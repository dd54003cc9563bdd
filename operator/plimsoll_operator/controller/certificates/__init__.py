"""The webhook's certificate: made, held to the webhook's registration, and renewed without a review that fails.

A process of its own with an account of its own: whoever may write a webhook's registration can have the API server send it any object,
Secrets too, so neither controller nor webhook may, which read what tenants write. This one reads two objects by name and nothing else.
"""
