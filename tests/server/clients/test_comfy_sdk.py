"""comfy-sdk, unmodified: upload, submit, wait, events, download, cancel, list."""

import io
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from tests.server.clients.graphs import drawing

comfy_sdk = pytest.importorskip("comfy_sdk")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture
def client(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COMFY_BASE_URL", address)
    monkeypatch.delenv("COMFY_API_KEY", raising=False)
    with comfy_sdk.Comfy() as found:
        yield found


def photo(color: tuple[int, int, int]) -> bytes:
    """A picture file."""
    out = io.BytesIO()
    PIL.Image.new("RGB", (16, 16), color).save(out, "PNG")
    return out.getvalue()


def inverted(image: Any, prefix: str) -> dict[str, Any]:
    """Load a picture, invert it, save it."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": image}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix}},
    }


def test_an_upload_is_the_input_of_a_job_whose_outputs_are_downloaded(client, tmp_path: Path) -> None:
    asset = client.assets.from_bytes(photo((1, 2, 3)), filename="photo.png")
    workflow = client.workflows.from_json(inverted(asset, "sdk_inverted"))
    job = client.run(workflow)
    assert job.status == "succeeded"
    (output,) = job.get_outputs("9")
    assert (output.type, output.content_type, output.job_id) == ("image", "image/png", job.id)
    saved = output.to_file(tmp_path / "out.png")
    assert PIL.Image.open(saved).getpixel((0, 0)) == (254, 253, 252)
    assert output.to_bytes(range=(1, 3)) == b"PNG"
    assert output.get_download_url().url.endswith("/content")
    assert output.size_bytes == saved.stat().st_size
    assert job.get_workflow().format == "api"
    assert client.jobs.get(job.id).status == "succeeded"


def test_the_same_bytes_are_uploaded_once(client) -> None:
    data = photo((9, 9, 9))
    first = client.assets.from_bytes(data, filename="a.png")
    first.commit()
    second = client.assets.from_bytes(data, filename="b.png")
    second.commit()
    assert (first.created_new, second.created_new, first.id != second.id) == (True, False, True)
    first.delete()
    assert client.assets.get(second.id).file_path == "b.png"
    client.assets.delete(second.id)
    with pytest.raises(comfy_sdk.NotFound):
        client.assets.get(second.id)


def test_events_tell_progress_outputs_and_the_end(client) -> None:
    job = client.submit(client.workflows.from_json(drawing()))
    seen = list(job.events())
    kinds = {type(event).__name__ for event in seen}
    assert {"Progress", "OutputReady", "StatusChange"} <= kinds
    assert seen[-1].status == "succeeded"
    (output,) = [e.output for e in seen if type(e).__name__ == "OutputReady"]
    assert PIL.Image.open(io.BytesIO(output.to_bytes())).size == (64, 64)


def test_a_running_job_is_cancelled(client) -> None:
    job = client.submit(client.workflows.from_json(drawing(steps=3_000)))
    for event in job.events():
        if type(event).__name__ == "Progress":
            break
    job.cancel()
    assert job.wait(30).status == "canceled"
    with pytest.raises(comfy_sdk.JobFailed):
        job.result()


def test_a_workflow_that_cannot_run_is_told(client) -> None:
    with pytest.raises(comfy_sdk.ComfyError) as caught:
        client.submit(client.workflows.from_json(inverted("nothing.png", "x")))
    assert (caught.value.code, caught.value.http_status) == ("invalid_workflow", 422)
    assert caught.value.details["node_errors"]["1"][0]["field"] == "image"


def test_jobs_are_listed_by_their_labels(client) -> None:
    asset = client.assets.from_bytes(photo((5, 5, 5)), filename="c.png")
    flow = client.workflows.from_json(inverted(asset, "sdk_label"))
    jobs = [client.submit(flow, metadata={"batch": "sdk-7", "row": str(i)}) for i in range(3)]
    found = list(client.list_jobs(metadata={"batch": "sdk-7"}))
    assert [s.id for s in found] == [job.id for job in reversed(jobs)]
    assert found[0].metadata == {"batch": "sdk-7", "row": "2"}
    assert found[0].create_time is not None


async def test_the_asynchronous_client_does_the_same(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_BASE_URL", address)
    async with comfy_sdk.AsyncComfy() as client:
        asset = client.assets.from_bytes(photo((7, 7, 7)), filename="d.png")
        job = await client.run(client.workflows.from_json(inverted(asset, "sdk_async")))
        assert (job.status, len(job.outputs)) == ("succeeded", 1)
        assert (await job.outputs[0].to_bytes()).startswith(b"\x89PNG")
