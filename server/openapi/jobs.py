"""Facts about the versioned jobs and assets, the job list, and our own routes."""

from server.openapi.facts import (
    ANY,
    BYTES,
    FLAG,
    FORM,
    INT,
    NUMBER,
    OBJECT,
    PLAIN,
    TEXT,
    TIME,
    Route,
    Schema,
    by_name,
    has,
    listed,
    may_have,
    one_of,
    or_null,
    ref,
)

V2, LIST, OURS, HEALTH = "jobs and assets", "job list", "latentgraph", "health"
_HASH: Schema = {"type": "string", "pattern": "^blake3:[0-9a-f]{64}$"}
_FILE: Schema = {"type": "string", "contentMediaType": BYTES}

SCHEMAS: dict[str, Schema] = {
    "Error": has({"error": has({"code": TEXT, "message": TEXT}, details=ANY)}),
    "Asset": has(
        {"id": TEXT, "hash": or_null(TEXT), "size_bytes": INT, "content_type": TEXT, "created_at": TIME,
         "url": TEXT, "url_expires_at": or_null(TIME)},
        file_path=TEXT, created_new=FLAG, expires_at=or_null(TIME), job_id=or_null(TEXT),
    ),
    "Output": has(
        {"node_id": TEXT, "name": TEXT, "type": one_of("image", "video", "audio", "text", "file", "latent"),
         "content_type": TEXT, "size_bytes": INT, "id": TEXT, "hash": or_null(TEXT), "url": TEXT,
         "url_expires_at": or_null(TIME)}
    ),
    "Progress": has(
        {"value": {"type": "number", "minimum": 0, "maximum": 1}, "nodes_done": INT, "nodes_total": INT},
        current_node=or_null(TEXT), current_node_class=or_null(TEXT), step=or_null(INT), steps=or_null(INT),
        message=or_null(TEXT),
    ),
    "JobError": has({"code": TEXT, "message": TEXT}, node_id=or_null(TEXT), class_type=or_null(TEXT),
                    traceback=or_null(TEXT)),
    "Job": has(
        {"id": TEXT,
         "status": one_of("queued", "running", "canceling", "succeeded", "failed", "canceled", "expired"),
         "created_at": TIME, "started_at": or_null(TIME), "completed_at": or_null(TIME), "expires_at": TIME,
         "queue_position": or_null(INT), "progress": or_null(ref("Progress")),
         "outputs": listed(ref("Output")), "error": or_null(ref("JobError")),
         "urls": has({"self": TEXT, "events": TEXT, "cancel": TEXT})},
        metrics=may_have(queue_ms=or_null(NUMBER), execution_ms=or_null(NUMBER)), paused=FLAG, priority=INT,
        metadata=ANY, executed=listed(TEXT), outputs_reused=listed(TEXT), warnings=listed(TEXT),
        node_errors=OBJECT, note=TEXT,
    ),
    "BriefJob": has(
        {"id": TEXT, "status": TEXT, "created_at": TIME, "started_at": or_null(TIME),
         "completed_at": or_null(TIME), "metadata": ANY, "urls": OBJECT},
        paused=FLAG, priority=INT, create_time=TIME, update_time=TIME,
    ),
    "ListedJob": has(
        {"id": TEXT, "status": one_of("pending", "in_progress", "completed", "failed", "cancelled")},
        priority=NUMBER, create_time=or_null(NUMBER), execution_start_time=or_null(NUMBER),
        execution_end_time=or_null(NUMBER), execution_error=ANY, outputs_count=or_null(INT),
        preview_output=ANY, workflow_id=or_null(TEXT),
    ),
    "Parameter": has(
        {"name": TEXT, "node_id": TEXT, "title": TEXT, "class_type": TEXT, "input": TEXT,
         "type": one_of("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"), "value": ANY, "common": FLAG},
        doc=TEXT, min=NUMBER, max=NUMBER, step=NUMBER, choices=listed(ANY), multiline=FLAG, seed=FLAG,
        role=TEXT,
    ),
    "ShippedWorkflow": has({"name": TEXT, "title": TEXT, "description": TEXT, "nodes": INT}),
}  # fmt: skip

_ONCE = {"Idempotency-Key": TEXT}
_KEY = {409: "A request with this key is being answered.", 422: "The key was used for another body."}
_NONE = {404: "There is none of this id."}
_UPLOAD = has({"file": _FILE}, content_type=TEXT, file_path=TEXT, expected_hash=_HASH, tags=TEXT)
_EVENTS = listed(one_of("succeeded", "failed", "canceled"))
_SUBMIT = has({"workflow": ref("Prompt")}, inputs=OBJECT, id=TEXT, priority=INT, metadata=ANY, no_cache=FLAG,
              targets=listed(TEXT), extra_data=OBJECT, webhook_url=TEXT,
              webhook=has({"url": TEXT}, events=_EVENTS, secret=TEXT))  # fmt: skip
_PAGES = has({"offset": INT, "limit": INT, "total": INT, "has_more": FLAG})
_PAGE = {"limit": INT, "offset": INT}

ROUTES = (
    Route("POST", "/api/v2/assets", "Keep a file, once for equal content.", V2, headers=_ONCE, body=_UPLOAD,
          body_type=FORM, answer=ref("Asset"), statuses=(200, 201),
          errors={**_KEY, 409: "Its hash is not the expected one.", 413: "It is too large."}),
    Route("POST", "/api/v2/assets/from-hash", "An asset of content that is there.", V2, headers=_ONCE,
          body=has({"hash": _HASH}, file_path=TEXT, tags=listed(TEXT)), answer=ref("Asset"),
          statuses=(200, 201), errors={404: "No content of this hash is there.", **_KEY}),
    Route("POST", "/api/v2/assets/from-path", "An asset of a file in the server's folders.", V2,
          headers=_ONCE, body=has({"path": TEXT}, type=one_of("input", "output", "temp"), file_path=TEXT,
                                  tags=listed(TEXT)),
          answer=ref("Asset"), statuses=(200, 201), errors={404: "There is no such file.", **_KEY}),
    Route("HEAD", "/api/v2/assets/by-hash/{hash}", "Whether content is there.", V2, errors=_NONE),
    Route("GET", "/api/v2/assets/{id}", "One asset.", V2, answer=ref("Asset"), errors=_NONE),
    Route("DELETE", "/api/v2/assets/{id}", "Delete an asset.", V2, statuses=(204,), errors=_NONE),
    Route("GET", "/api/v2/assets/{id}/content", "The bytes of an asset.", V2, answer=_FILE, answer_type=BYTES,
          statuses=(200, 206), errors={**_NONE, 410: "Its bytes are gone.", 416: "It has no such range."}),
    Route("POST", "/api/v2/jobs", "Record a workflow to be run; it is on disk before the answer.", V2,
          headers=_ONCE, body=_SUBMIT, answer=ref("Job"), statuses=(201,),
          errors={**_KEY, 422: "The workflow cannot run, an asset is missing, or the key was used.",
                  413: "The body is too large.", 429: "Too many jobs wait.", 503: "The server is stopping."}),
    Route("GET", "/api/v2/jobs", "Jobs, newest first.", V2,
          query={"limit": INT, "cursor": TEXT, "status": TEXT, "metadata": by_name(TEXT)},
          answer=has({"jobs": listed(ref("BriefJob"))}, next_cursor=TEXT),
          errors={400: "A parameter is wrong."}),
    Route("POST", "/api/v2/jobs/cancel", "Cancel jobs by their ids.", V2, body=has({"ids": listed(TEXT)}),
          answer=has({"jobs": listed(ref("BriefJob")), "unknown": listed(TEXT)}),
          errors={422: "It is no list of ids."}),
    Route("GET", "/api/v2/jobs/{id}", "One job.", V2, answer=ref("Job"), errors=_NONE),
    Route("GET", "/api/v2/jobs/{id}/events", "What happens in a job, until it ends; with `wait` as JSON.", V2,
          query={"after": INT, "wait": INT}, headers={"Last-Event-ID": TEXT}, answer=TEXT,
          answer_type="text/event-stream", errors={**_NONE, 400: "A parameter is wrong."}),
    Route("POST", "/api/v2/jobs/{id}/cancel", "Cancel a job.", V2, answer=ref("Job"), errors=_NONE),
    Route("POST", "/api/v2/jobs/{id}/retry", "Run an ended job again.", V2, answer=ref("Job"),
          errors={**_NONE, 409: "It has not ended."}),
    Route("POST", "/api/v2/jobs/{id}/pause", "Put a job aside.", V2, answer=ref("Job"),
          errors={**_NONE, 409: "It has ended."}),
    Route("POST", "/api/v2/jobs/{id}/resume", "Let a paused job go on.", V2, answer=ref("Job"),
          errors={**_NONE, 409: "It has ended."}),
    Route("GET", "/api/v2/jobs/{id}/workflow", "The workflow of a job.", V2,
          answer=has({"workflow": OBJECT, "format": one_of("api", "save")}), errors=_NONE),
    Route("GET", "/api/jobs", "Jobs as the editor lists them.", LIST,
          query={"status": TEXT, "workflow_id": TEXT, "sort_by": one_of("created_at", "execution_duration"),
                 "sort_order": one_of("asc", "desc"), **_PAGE},
          answer=has({"jobs": listed(ref("ListedJob")), "pagination": _PAGES}),
          errors={400: "A parameter is wrong."}),
    Route("GET", "/api/jobs/{id}", "One job as the editor shows it.", LIST, answer=ref("ListedJob"),
          errors=_NONE),
    Route("POST", "/api/jobs/{id}/cancel", "Cancel a job, whether it waits or runs.", LIST, answer=ANY,
          errors=_NONE),
    Route("GET", "/api/latentgraph/workflows", "The workflows that come along.", OURS,
          answer=has({"workflows": listed(ref("ShippedWorkflow"))})),
    Route("GET", "/api/latentgraph/workflows/{name}", "One of them, and what may be set in it.", OURS,
          answer=has({"workflow": ref("Prompt"), "form": listed(ref("Parameter")), "json_schema": OBJECT}),
          errors={404: "There is none of this name."}),
    Route("GET", "/", "The page: queue, progress, pictures, forms of the workflows.", OURS, answer=TEXT,
          answer_type="text/html", open=True),
    Route("GET", "/editor", "ComfyUI's editor, where it is installed.", OURS, answer=TEXT,
          answer_type="text/html", errors={404: "It is not installed."}),
    Route("GET", "/health", "The server answers.", HEALTH, answer=has({"status": TEXT}), open=True),
    Route("GET", "/api/v2/health", "The server answers.", HEALTH, answer=has({"status": TEXT}), open=True),
    Route("GET", "/metrics", "Counters and timings for Prometheus.", HEALTH, answer=TEXT, answer_type=PLAIN),
    Route("GET", "/openapi.json", "This document.", HEALTH, answer=OBJECT),
)  # fmt: skip
