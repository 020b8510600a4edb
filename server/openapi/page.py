"""Facts about the page and what it asks for."""

from server.openapi.facts import (
    ANY,
    FLAG,
    INT,
    NUMBER,
    OBJECT,
    TEXT,
    Route,
    Schema,
    has,
    listed,
    or_null,
    ref,
)

PAGE = "latentgraph"
_FILE = has({"node": TEXT, "filename": TEXT, "subfolder": TEXT, "type": TEXT})
_ERROR = has(
    {"node_id": or_null(TEXT), "title": TEXT, "class_type": or_null(TEXT), "message": TEXT, "hint": TEXT,
     "traceback": TEXT}
)  # fmt: skip

SCHEMAS: dict[str, Schema] = {
    "Card": has(
        {"id": TEXT, "status": TEXT, "title": TEXT, "created": NUMBER, "started": or_null(NUMBER),
         "finished": or_null(NUMBER), "pictures": listed(_FILE), "count": INT, "error": or_null(_ERROR),
         "cursor": TEXT},
    ),
}  # fmt: skip
_RUNNING = has(
    {"id": TEXT, "title": TEXT, "created": NUMBER, "started": or_null(NUMBER), "attempt": INT,
     "cancelling": FLAG, "progress": OBJECT, "preview": or_null(INT)}
)  # fmt: skip
_WAITING = has({"id": TEXT, "title": TEXT, "status": TEXT, "created": NUMBER, "priority": INT})
_FORM = {"workflow": ref("Prompt"), "form": listed(ref("Parameter"))}

ROUTES = (
    Route("GET", "/page", "The page, also where the editor stands at the root.", PAGE, answer=TEXT,
          answer_type="text/html", open=True),
    Route("GET", "/page/{name}", "A file of the page.", PAGE, answer=TEXT, answer_type="text/javascript",
          errors={404: "It has no such file."}, open=True),
    Route("GET", "/api/latentgraph/overview", "What runs, waits and has just ended.", PAGE,
          answer=has({"now": NUMBER, "running": listed(_RUNNING), "waiting": listed(_WAITING),
                      "waiting_count": INT, "ended": listed(ref("Card")), "stopping": FLAG})),
    Route("GET", "/api/latentgraph/jobs/{id}/preview", "The newest preview of a running job.", PAGE,
          answer=TEXT, answer_type="image/jpeg", errors={404: "There is none."}),
    Route("GET", "/api/latentgraph/gallery", "Ended jobs, newest first; searched.", PAGE,
          query={"q": TEXT, "status": TEXT, "before": TEXT, "limit": INT},
          answer=has({"jobs": listed(ref("Card")), "next": or_null(TEXT)}),
          errors={400: "A parameter is wrong."}),
    Route("GET", "/api/latentgraph/gallery/{id}", "One job with its workflow and all that it made.", PAGE,
          answer=has({"workflow": ref("Prompt"), "form": listed(ref("Parameter")), "files": listed(_FILE),
                      "texts": listed(ANY), "executed": listed(TEXT), "cached": listed(TEXT)}),
          errors={404: "There is none of this id."}),
    Route("POST", "/api/latentgraph/form", "What may be set in a workflow, given as a file.", PAGE,
          body=OBJECT, answer=has(_FORM),
          errors={400: "It is no workflow that is read.", 413: "It is too large."}),
    Route("GET", "/user.css", "The user's own style of the editor: none.", PAGE, answer=TEXT,
          answer_type="text/css"),
    Route("GET", "/templates/{index}", "Templates of the editor's makers: none.", PAGE, answer=ANY),
)  # fmt: skip
