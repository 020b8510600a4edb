"""Workflows that cost little, and the environment of a client that shall reach nothing but our server."""

import os
import uuid
from pathlib import Path
from typing import Any

Graph = dict[str, dict[str, Any]]


def picture(prefix: str = "client", batch: int = 1, color: int | None = None) -> Graph:
    """Two nodes; of another colour each time, so that nothing is served from the cache."""
    color = uuid.uuid4().int % 0xFFFFFF if color is None else color
    return {
        "1": node("EmptyImage", width=32, height=24, batch_size=batch, color=color),
        "2": node("SaveImage", images=["1", 0], filename_prefix=prefix),
    }


def drawing(steps: int = 2, prefix: str = "drawn") -> Graph:
    """Text to image; 3000 steps of it are a job that does not end by itself while a test lasts."""
    model, text = ["1", 0], ["2", 0]
    sampler = {"seed": uuid.uuid4().int % 2**32, "steps": steps, "cfg": 1.0, "denoise": 1.0}
    sampler |= {"sampler_name": "euler", "scheduler": "normal", "model": model}
    sampler |= {"positive": text, "negative": text, "latent_image": ["3", 0]}
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="storybook"),
        "2": node("CLIPTextEncode", text="a house", clip=["1", 1]),
        "3": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "4": node("KSampler", **sampler),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "6": node("SaveImage", images=["5", 0], filename_prefix=prefix),
    }


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node as an editor exports it; some clients look for nodes by title."""
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def offline(home: Path, address: str) -> dict[str, str]:
    """Environment variables: a home of its own, telemetry off, and every way out closed but to loopback."""
    closed = "http://127.0.0.1:9"
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "COLUMNS": "120",
        "COMFY_LOCAL_URL": address,
        "DO_NOT_TRACK": "1",
        "COMFY_NO_TELEMETRY": "1",
        "HTTP_PROXY": closed,
        "HTTPS_PROXY": closed,
        "NO_PROXY": "127.0.0.1,localhost",
    }
