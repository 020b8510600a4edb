"""What the server counts and times."""

import asyncio
from pathlib import Path

from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from pytest_aiohttp.plugin import AiohttpClient

from engine.events import ModelBatch, NodeCached, NodeFinished, NodeStarted
from engine.registry import Registry
from server.metrics import Metrics
from server.routes import health
from tests.server.states import app_of, state_at


def samples(text: str) -> dict[str, float]:
    """The samples by name and labels: `jobs_total{status=error}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def read(metrics: Metrics) -> dict[str, float]:
    return samples(metrics.text().decode())


def test_jobs_are_counted_by_how_they_end() -> None:
    metrics = Metrics("1.2")
    metrics.job_ended("success", 3.0)
    metrics.job_ended("success", 0.001)
    metrics.job_ended("error", 1.0)
    found = read(metrics)
    assert found["latentgraph_jobs_total{status=success}"] == 2
    assert found["latentgraph_jobs_total{status=error}"] == 1
    assert found["latentgraph_job_seconds_sum{status=success}"] == 3.001
    assert found["latentgraph_info{version=1.2}"] == 1


def test_what_waits_runs_and_is_connected_is_shown() -> None:
    metrics = Metrics()
    metrics.queue(7, 2)
    metrics.clients(3)
    found = read(metrics)
    assert found["latentgraph_queue_depth"] == 7
    assert found["latentgraph_jobs_running"] == 2
    assert found["latentgraph_websocket_clients"] == 3
    assert found["process_resident_memory_bytes"] > 2**20


def test_events_of_a_run_tell_model_passes_and_the_cache() -> None:
    metrics = Metrics()
    metrics.event(ModelBatch("unet", rows=3, rung=4, jobs=2, seconds=0.5))
    metrics.event(NodeCached("1", "disk", {}))
    metrics.event(NodeFinished("2", "KSampler", 1.0, {}))
    metrics.event(NodeStarted("3", "3", "KSampler"))
    found = read(metrics)
    assert found["latentgraph_model_batches_total{rung=4}"] == 1
    assert found["latentgraph_model_rows_total"] == 3
    assert found["latentgraph_model_rows_computed_total"] == 4
    assert found["latentgraph_model_seconds_total"] == 0.5
    assert found["latentgraph_cache_hits_total{tier=disk}"] == 1
    assert found["latentgraph_cache_misses_total"] == 1


def test_two_servers_of_one_process_do_not_share_counts() -> None:
    first, second = Metrics(), Metrics()
    first.job_ended("success", 1.0)
    assert "latentgraph_jobs_total{status=success}" not in read(second)
    assert not any(family.name.startswith("latentgraph") for family in REGISTRY.collect())


async def fail(request: web.Request) -> web.StreamResponse:
    raise ValueError("broken")


async def refuse(request: web.Request) -> web.StreamResponse:
    raise web.HTTPConflict


async def test_requests_are_counted_by_route_and_status_not_by_path(
    tmp_path: Path, registry: Registry, aiohttp_client: AiohttpClient
) -> None:
    state = state_at(tmp_path, registry)
    routes = (*health.ROUTES, web.get("/fail/{name}", fail), web.get("/refuse", refuse))
    client = await aiohttp_client(app_of(state, routes))
    for path in ("/health", "/fail/a", "/fail/b", "/refuse", "/nowhere", "/else"):
        await client.get(path)
    await client.request("PROPFIND", "/nowhere")
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = samples(await answer.text())
    counts = {k: v for k, v in found.items() if k.startswith("latentgraph_http_requests_total")}
    assert counts == {
        "latentgraph_http_requests_total{method=GET,route=/health,status=200}": 1,
        "latentgraph_http_requests_total{method=GET,route=/fail/{name},status=500}": 2,
        "latentgraph_http_requests_total{method=GET,route=/refuse,status=409}": 1,
        "latentgraph_http_requests_total{method=GET,route=unknown,status=404}": 2,
        "latentgraph_http_requests_total{method=other,route=unknown,status=404}": 1,
    }
    assert found["latentgraph_http_request_seconds_count{method=GET,route=/health}"] == 1


async def test_counting_from_many_threads_loses_nothing() -> None:
    metrics = Metrics()
    await asyncio.gather(
        *(
            asyncio.to_thread(lambda: [metrics.job_ended("success", 0.1) for _ in range(500)])
            for _ in range(8)
        )
    )
    assert read(metrics)["latentgraph_jobs_total{status=success}"] == 4000
