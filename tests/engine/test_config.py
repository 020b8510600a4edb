"""Settings: flags over the environment over the file over defaults; model folders from a YAML file."""

from pathlib import Path

import pytest
from toys import REGISTRY

from engine.cache import Tiers
from engine.cache.disk import DiskTier
from engine.config import make_env, open_tiers, read_settings
from engine.files import Files
from engine.problems import WorkflowError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "CACHE",
        "CACHE_GB",
        "MEMORY_GB",
        "BASE_DIRECTORY",
        "DEVICE",
        "MODEL_GB",
        "OUTPUT_DIRECTORY",
    ):
        monkeypatch.delenv(f"LATENTGRAPH_{name}", raising=False)
    return tmp_path


def test_flags_win_over_the_environment_over_the_file_over_defaults(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_settings().memory_gb == 2.0
    (here / "latentgraph.toml").write_text("memory_gb = 3\ncache_gb = 4\nmodel_gb = 5\n")
    monkeypatch.setenv("LATENTGRAPH_CACHE_GB", "6")
    monkeypatch.setenv("LATENTGRAPH_MODEL_GB", "7")
    found = read_settings(model_gb=8, device=None)
    assert (found.memory_gb, found.cache_gb, found.model_gb, found.device) == (3, 6, 8, None)


@pytest.mark.parametrize("text", ["memory = 3", "memory_gb = -1", "memory_gb = 'much'", "memory_gb ="])
def test_a_wrong_file_is_refused_by_name(here: Path, text: str) -> None:
    (here / "latentgraph.toml").write_text(text)
    with pytest.raises(WorkflowError, match=r"memory|latentgraph\.toml"):
        read_settings()


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(WorkflowError, match="speed"):
        read_settings(speed=9)


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(WorkflowError) as caught:
        read_settings(memory_gb=-1, cache_gb=-1)
    assert len(caught.value.problems) == 2


def test_the_disk_cache_can_be_off_or_unusable(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert [t.name for t in open_tiers(read_settings(cache=Path("off"))).tiers] == ["memory"]
    (here / "file").write_text("")
    assert [t.name for t in open_tiers(read_settings(cache=here / "file" / "x")).tiers] == ["memory"]
    assert "going on without it" in caplog.text
    tiers = open_tiers(read_settings(cache=here / "c"))
    assert [t.name for t in tiers.tiers] == ["memory", "disk"]
    assert isinstance(tiers.tiers[1], DiskTier)
    tiers.tiers[1].close()


def test_more_model_folders_come_from_a_yaml_file(here: Path) -> None:
    for name in ("a/ckpt/one.ckpt", "a/ckpt2/two.ckpt", "b/unet/three.ckpt", "b/clip/four.ckpt"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("")
    (here / "extra.yaml").write_text(
        "first:\n  base_path: a\n  is_default: true\n  checkpoints: |\n    ckpt\n    ckpt2\n"
        f"second:\n  base_path: {here}/b\n  unet: unet\n  clip: clip\nempty:\n"
    )
    files = make_env(read_settings(extra_model_paths_config=here / "extra.yaml"), REGISTRY, Tiers(()))[Files]
    assert files.names("checkpoints") == ["one.ckpt", "two.ckpt"]
    assert files.names("diffusion_models") == ["three.ckpt"]
    assert files.find("text_encoders", "four.ckpt") == here / "b/clip/four.ckpt"


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\xff", None])
def test_an_unreadable_yaml_file_is_a_workflow_error(here: Path, content: bytes | None) -> None:
    if content is not None:
        (here / "extra.yaml").write_bytes(content)
    with pytest.raises(WorkflowError, match=r"extra\.yaml"):
        make_env(read_settings(extra_model_paths_config=here / "extra.yaml"), REGISTRY, Tiers(()))
