"""The durable queue: jobs, names reserved for their outputs, assets, idempotency keys, webhooks, in SQL."""
