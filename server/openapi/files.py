"""Facts about the routes of files, models, users and their settings, and those of the editor alone."""

from server.openapi.facts import (
    ANY,
    BYTES,
    FLAG,
    FORM,
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
    one_of,
    or_null,
    ref,
)

FILES, MODELS, USERS, EDITOR = "files", "models", "users", "editor"
_TYPE = one_of("input", "output", "temp")
_BYTES: Schema = {"type": "string", "contentMediaType": BYTES}

SCHEMAS: dict[str, Schema] = {
    "StoredFile": has({"name": TEXT, "subfolder": TEXT, "type": _TYPE}),
    "ModelFile": has({"name": TEXT, "pathIndex": INT, "modified": NUMBER, "created": NUMBER, "size": INT}),
    "UserFile": has({"path": TEXT, "size": INT, "modified": NUMBER}, created=NUMBER),
}

_PICTURE = {"image": _BYTES}
_WHERE = {"overwrite": TEXT, "type": _TYPE, "subfolder": TEXT}
_NO_FILE = {404: "There is no such file."}
_NO_FOLDER = {404: "There is no such kind of models."}
_REFUSED = {400: "The name is not used, or the form is damaged.", 413: "It is too large."}
_PATHS = {403: "The path leads out of the user's folder.", **_NO_FILE}
_TAKEN = {400: "The name is not used.", 403: _PATHS[403], 409: "There is a file of this name."}
_KEEP = {"overwrite": TEXT, "full_info": TEXT}
_KEPT: Schema = {"anyOf": [TEXT, ref("UserFile")]}
_LOG = has({"entries": listed(has({"t": TEXT, "m": TEXT})), "size": or_null(OBJECT)})

ROUTES = (
    Route("GET", "/view", "A file, or a preview or a channel of a picture.", FILES,
          query={"filename!": TEXT, "type": _TYPE, "subfolder": TEXT, "preview": TEXT,
                 "channel": one_of("rgba", "rgb", "a")},
          answer=_BYTES, answer_type=BYTES, statuses=(200, 206),
          errors={400: "The name is not used.", 403: "The subfolder leads outside.", **_NO_FILE,
                  413: "The picture has too many pixels."}),
    Route("POST", "/upload/image", "Keep a file; its name in the answer may be another.", FILES,
          body=has(_PICTURE, **_WHERE), body_type=FORM, answer=ref("StoredFile"), errors=_REFUSED),
    Route("POST", "/upload/mask", "Keep a picture that is there with the alpha of the uploaded one.", FILES,
          body=has({**_PICTURE, "original_ref": TEXT}, **_WHERE), body_type=FORM, answer=ref("StoredFile"),
          errors=_REFUSED),
    Route("GET", "/view_metadata/{folder}", "The metadata in a model file's header.", MODELS,
          query={"filename!": TEXT}, answer=by_name(TEXT), errors=_NO_FILE),
    Route("GET", "/embeddings", "Textual inversions by name.", MODELS, answer=listed(TEXT)),
    Route("GET", "/models", "The kinds of models.", MODELS, answer=listed(TEXT)),
    Route("GET", "/models/{folder}", "The models of a kind.", MODELS, answer=listed(TEXT), errors=_NO_FOLDER),
    Route("GET", "/experiment/models", "The kinds of models with their folders.", MODELS,
          answer=listed(has({"name": TEXT, "folders": listed(TEXT)}))),
    Route("GET", "/experiment/models/{folder}", "The models of a kind with sizes and times.", MODELS,
          answer=listed(ref("ModelFile")), errors=_NO_FOLDER),
    Route("GET", "/experiment/models/preview/{folder}/{path_index}/{filename}", "A model's picture.", MODELS,
          answer=_BYTES, answer_type="image/webp", errors=_NO_FILE),
    Route("GET", "/users", "How users are told apart.", USERS,
          answer=has({"storage": TEXT}, migrated=FLAG, users=by_name(TEXT))),
    Route("POST", "/users", "Make a user.", USERS, body=has({"username": TEXT}), answer=TEXT,
          errors={400: "The name is taken or is no name."}),
    Route("GET", "/settings", "The editor's settings.", USERS, answer=OBJECT),
    Route("POST", "/settings", "Change some of the editor's settings.", USERS, body=OBJECT),
    Route("GET", "/settings/{id}", "One of the editor's settings, or null.", USERS, answer=ANY),
    Route("POST", "/settings/{id}", "Change one of the editor's settings.", USERS, body=ANY),
    Route("GET", "/userdata", "A user's files in a folder.", USERS,
          query={"dir!": TEXT, "recurse": TEXT, "full_info": TEXT, "split": TEXT},
          answer=listed(ANY), errors={400: "`dir` is missing.", **_PATHS}),
    Route("GET", "/v2/userdata", "A user's files and folders.", USERS, query={"path": TEXT},
          answer=listed(has({"name": TEXT, "path": TEXT, "type": one_of("file", "directory")})),
          errors={400: "It is no folder.", **_PATHS}),
    Route("GET", "/userdata/{file}", "A user's file.", USERS, answer=_BYTES, answer_type=BYTES,
          errors=_PATHS),
    Route("POST", "/userdata/{file}", "Keep a user's file.", USERS, query=_KEEP, body=_BYTES, body_type=BYTES,
          answer=_KEPT, errors=_TAKEN),
    Route("DELETE", "/userdata/{file}", "Delete a user's file.", USERS, statuses=(204,), errors=_PATHS),
    Route("POST", "/userdata/{file}/move/{dest}", "Rename a user's file.", USERS, query=_KEEP, answer=_KEPT,
          errors={**_TAKEN, **_NO_FILE}),
    Route("GET", "/internal/logs", "The last lines of the log as one text.", EDITOR, answer=TEXT),
    Route("GET", "/internal/logs/raw", "The last lines of the log.", EDITOR, answer=_LOG),
    Route("PATCH", "/internal/logs/subscribe", "Hear of new lines of the log on the socket.", EDITOR,
          body=may_have(clientId=TEXT, enabled=FLAG)),
    Route("GET", "/internal/folder_paths", "The folders of models.", EDITOR, answer=by_name(listed(TEXT))),
    Route("GET", "/internal/files/{type}", "Names of files, newest first.", EDITOR,
          answer=listed(TEXT), errors={400: "There is no such folder."}),
)  # fmt: skip
