"""Batches: one workflow as many jobs, driven from a command over the durable queue."""
