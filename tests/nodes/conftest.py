"""Settings of the tests that compute with torch."""

import torch

torch.set_num_threads(1)  # tiny networks: a second thread waits more than it works
