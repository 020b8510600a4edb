"""latentgraph for programs and notebooks: build or load a workflow, run it once or many times, get pictures.

    import latentgraph as lg

    with lg.Session() as session:
        result = session.run("text_to_image", {"Prompt.text": "a red house at night", "Sampler.seed": 7})
        result.image.save("house.png")

- `Session` runs workflows: `run` for one, `map` for many, `arun` in asyncio programs.
- `Graph` builds a workflow by calling nodes by their class names; `load` reads one from a file.
- `Result` has the pictures, the latents, the files, and what every node gave.

The guide is docs/python.md.
"""

import os

# Read by OpenMP's library when torch loads it: waiting threads sleep (see engine.cli.main for the figures).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from engine.problems import Problem, WorkflowError
from latentgraph.graph import Graph, Output, Outputs, load
from latentgraph.results import Images, NodeFailed, NodeResult, Result
from latentgraph.session import Session

__all__ = [
    "Graph",
    "Images",
    "NodeFailed",
    "NodeResult",
    "Output",
    "Outputs",
    "Problem",
    "Result",
    "Session",
    "WorkflowError",
    "load",
]
