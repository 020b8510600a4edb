"""Settings of the tests that compute with torch."""

import pytest
import torch

torch.set_num_threads(1)  # tiny networks: a second thread waits more than it works


@pytest.fixture(autouse=True)
def _same_random_weights() -> None:
    """Networks built without weights get the same ones each time: a test passes always or never."""
    torch.manual_seed(0)
