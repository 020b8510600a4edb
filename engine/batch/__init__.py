"""A batch: one workflow as many jobs, each with inputs and output names of its own; plain values, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.workflow import Workflow


@dataclass(frozen=True)
class Axis:
    """An input that varies, with the values it takes, each once, in the order in which they first come.

    Args:
        name: NODE.INPUT, as it was given.
        group: Axes of one group (zipped, or columns of one file) vary together; groups multiply, 0 outermost.
    """

    name: str
    values: tuple[Any, ...]
    group: int = 0


@dataclass(frozen=True)
class BatchJob:
    """One job of a batch.

    Args:
        number: From 1, in the order of the batch.
        inputs: What varies, as it was given, by NODE.INPUT.
        workflow: The workflow with these inputs, and with the output names in every `filename_prefix`.
        names: The beginnings of the output names, one for each node that takes a `filename_prefix`.
        places: Where each of the inputs was read ("jobs.csv, line 17, column 2"), by NODE.INPUT.
    """

    number: int
    inputs: Mapping[str, Any]
    workflow: Workflow
    names: tuple[str, ...]
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Batch:
    """All jobs of a batch, in order.

    Args:
        workflow: What they were made of.
        digest: blake3 of all that makes it this batch: the workflows of all jobs, the limit of rungs.
        items: Files that the values name by path, by role, for `engine.config.make_env`.
    """

    workflow: Workflow
    axes: tuple[Axis, ...]
    jobs: tuple[BatchJob, ...]
    digest: str
    items: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
