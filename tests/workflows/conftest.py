"""Settings and fixtures of the tests that run shipped workflows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.workflows.shipped import Studio

torch.set_num_threads(1)  # tiny networks: a second thread waits more than it works


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """One engine with a base directory and a cache of its own."""
    folder: Path = tmp_path_factory.mktemp("studio")
    with Studio(folder) as opened:
        yield opened
