"""What the server tells of its machine."""

from pathlib import Path

import psutil
import pytest
import torch

from engine.devices import Devices
from server.system import shown_arguments, system_stats


def test_the_stats_have_the_keys_that_clients_read(tmp_path: Path) -> None:
    stats = system_stats(Devices("cpu"), tmp_path)
    assert stats["system"]["ram_total"] == psutil.virtual_memory().total
    assert [int(part) for part in stats["system"]["comfyui_version"].split(".")] == [0, 3, 64]
    (device,) = stats["devices"]
    assert (device["name"], device["type"], device["index"]) == ("cpu", "cpu", None)
    assert 0 < device["vram_free"] <= device["vram_total"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["serve", "--port", "8188"], ["serve", "--port", "8188"]),
        (["--token", "hunter2", "--cpu"], ["--token", "***", "--cpu"]),
        (["--token=hunter2"], ["--token=***"]),
        (["--webhook-secret", "hunter2"], ["--webhook-secret", "***"]),
        (["--token", "--port"], ["--token", "***"]),
        (["--database", "postgresql://me:hunter2@db/x"], ["--database", "***"]),
        (["postgresql://me:hunter2@db/x"], ["***"]),
        (["/usr/local/bin/latentgraph"], ["latentgraph"]),
        (["--output-directory=/srv/secret/out"], ["--output-directory=out"]),
        (["--output-directory", "{base}/output/a"], ["--output-directory", "output/a"]),
        (["{base}/../elsewhere/b"], ["b"]),
    ],
)
def test_the_command_line_is_told_without_secrets_and_foreign_folders(
    given: list[str], shown: list[str], tmp_path: Path
) -> None:
    assert list(shown_arguments([a.format(base=tmp_path) for a in given], tmp_path)) == shown


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_is_told_with_its_memory(tmp_path: Path) -> None:
    (device,) = system_stats(Devices("cuda"), tmp_path)["devices"]
    assert (device["type"], device["index"]) == ("cuda", 0)
    assert 0 < device["vram_free"] <= device["vram_total"]
    assert 0 <= device["torch_vram_free"] <= device["torch_vram_total"]
