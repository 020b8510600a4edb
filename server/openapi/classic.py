"""Facts about the classic routes: the queue, history, and what the server tells of itself."""

from server.openapi.facts import (
    ANY,
    FLAG,
    INT,
    NUMBER,
    OBJECT,
    TEXT,
    Route,
    Schema,
    by_name,
    has,
    listed,
    may_have,
    ref,
)

QUEUE, TOLD = "queue", "information"

SCHEMAS: dict[str, Schema] = {
    "Prompt": {
        **by_name(
            has({"class_type": TEXT}, inputs=OBJECT, _meta=may_have(title=TEXT)),
        ),
        "description": "A workflow in API form: nodes by id; an input is a value or a link [id, slot].",
    },
    "NodeError": has({"type": TEXT, "message": TEXT, "details": TEXT, "extra_info": OBJECT}),
    "NodeErrors": by_name(
        has({"errors": listed(ref("NodeError")), "dependent_outputs": listed(TEXT), "class_type": TEXT})
    ),
    "ClassicError": has({"error": ref("NodeError"), "node_errors": ref("NodeErrors")}),
    "QueueItem": {
        "type": "array",
        "prefixItems": [NUMBER, TEXT, ref("Prompt"), OBJECT, listed(TEXT)],
        "description": "number, prompt id, prompt, extra_data, ids of the outputs to make",
    },
    "HistoryEntry": has(
        {
            "prompt": ref("QueueItem"),
            "outputs": by_name(OBJECT),
            "status": has({"status_str": TEXT, "completed": FLAG, "messages": listed(ANY)}),
            "meta": OBJECT,
        }
    ),
    "NodeInfo": has(
        {
            "input": OBJECT,
            "input_order": by_name(listed(TEXT)),
            "output": listed(ANY),
            "output_is_list": listed(FLAG),
            "output_name": listed(TEXT),
            "name": TEXT,
            "display_name": TEXT,
            "description": TEXT,
            "python_module": TEXT,
            "category": TEXT,
            "output_node": FLAG,
        }
    ),
    "SystemStats": has(
        {
            "system": has({"comfyui_version": TEXT, "ram_total": INT, "ram_free": INT}),
            "devices": listed(OBJECT),
        }
    ),
}

_JOB = has(
    {"prompt": ref("Prompt")},
    client_id=TEXT,
    prompt_id=TEXT,
    number=NUMBER,
    front=FLAG,
    extra_data=OBJECT,
    partial_execution_targets=listed(TEXT),
)
_REMAINING = has({"exec_info": has({"queue_remaining": INT})})
_TAKE_OUT = may_have(clear=FLAG, delete=listed(TEXT))
_FULL = {
    400: "Nothing of it can run, or it has not the form that it must have.",
    409: "The id is taken.",
    413: "The body is too large.",
    429: "Too many jobs wait.",
    503: "The server is stopping.",
}
_SOCKET = {400: "The request does not ask for a WebSocket."}

ROUTES = (
    Route("POST", "/prompt", "Record a prompt to be run; it is on disk before the answer.", QUEUE, body=_JOB,
          answer=has({"prompt_id": TEXT, "number": NUMBER, "node_errors": ref("NodeErrors")}), errors=_FULL),
    Route("GET", "/prompt", "How many jobs wait or run.", QUEUE, answer=_REMAINING),
    Route("GET", "/queue", "What runs and what waits.", QUEUE,
          answer=has({"queue_running": listed(ref("QueueItem")), "queue_pending": listed(ref("QueueItem"))})),
    Route("POST", "/queue", "Remove waiting jobs: all, or some ids.", QUEUE, body=_TAKE_OUT),
    Route("POST", "/interrupt", "Stop what runs, or one id if it runs, at the next step.", QUEUE,
          body=may_have(prompt_id=TEXT)),
    Route("POST", "/free", "Give memory back.", QUEUE, body=may_have(unload_models=FLAG, free_memory=FLAG)),
    Route("GET", "/history", "Ended jobs, oldest first.", QUEUE, query={"max_items": INT, "offset": INT},
          answer=by_name(ref("HistoryEntry")), errors={400: "A number that is none."}),
    Route("GET", "/history/{prompt_id}", "One ended job; an empty object until it has ended.", QUEUE,
          answer=by_name(ref("HistoryEntry"))),
    Route("POST", "/history", "Forget ended jobs: all, or some ids.", QUEUE, body=_TAKE_OUT),
    Route("GET", "/ws", "A WebSocket on which a client hears of its jobs.", QUEUE, query={"clientId": TEXT},
          statuses=(101,), errors=_SOCKET),
    Route("GET", "/object_info", "All nodes by class.", TOLD, answer=by_name(ref("NodeInfo"))),
    Route("GET", "/object_info/{node_class}", "One node by class; an empty object if unknown.", TOLD,
          answer=by_name(ref("NodeInfo"))),
    Route("GET", "/system_stats", "Memory, devices and versions.", TOLD, answer=ref("SystemStats")),
    Route("GET", "/features", "What the server can do that a client may make use of.", TOLD,
          answer=has({"supports_preview_metadata": FLAG, "max_upload_size": INT})),
    Route("GET", "/extensions", "The scripts that an editor loads.", TOLD, answer=listed(TEXT)),
    Route("GET", "/extensions/{pack}/{path}", "A file of an editor extension.", TOLD,
          answer=TEXT, answer_type="text/javascript", errors={404: "There is no such file."}),
    Route("GET", "/workflow_templates", "The workflows that come along, by pack.", TOLD,
          answer=by_name(listed(TEXT))),
    Route("GET", "/api/workflow_templates/{pack}/{name}", "One workflow that comes along.", TOLD,
          answer=OBJECT, errors={404: "There is none of this name."}),
    Route("GET", "/i18n", "The words of custom packs by language.", TOLD, answer=by_name(OBJECT)),
    Route("GET", "/global_subgraphs", "Subgraphs of packs; there are none.", TOLD, answer=OBJECT),
    Route("GET", "/node_replacements", "Nodes to put in place of others; there are none.", TOLD,
          answer=OBJECT),
)  # fmt: skip
