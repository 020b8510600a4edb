"""Workflow files: read from JSON, pictures and latents; inputs set by name; what is malformed says where."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import REGISTRY, n

from engine.problems import WorkflowError
from engine.workflow import MAX_NODES, from_json, load, parse

GRAPH = {"1": n("Value", value=4), "2": n("Show", value=["1", 0]) | {"_meta": {"title": "Prompt"}}}
TEXT = json.dumps(GRAPH)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A file of chunks that begins like a PNG."""
    parts = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def latent(metadata: Any) -> bytes:
    header = json.dumps({"__metadata__": metadata} if metadata is not None else {}).encode()
    return struct.pack("<Q", len(header)) + header


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NODES = st.fixed_dictionaries(
    {"class_type": st.text(), "inputs": st.dictionaries(st.text(), JSON)},
    optional={"_meta": st.fixed_dictionaries({"title": st.text(min_size=1)})},
)


@given(st.dictionaries(st.text(), NODES, min_size=1).filter(lambda g: "prompt" not in g and "nodes" not in g))
def test_saving_and_loading_is_the_identity(graph: dict[str, Any]) -> None:
    workflow = from_json(graph)
    assert workflow.as_api() == graph
    assert parse(json.dumps(workflow.as_api()).encode()) == workflow


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(), b"\xef\xbb\xbf" + TEXT.encode(), json.dumps({"prompt": GRAPH}).encode(),
        png((b"tEXt", b"prompt\0" + TEXT.encode())),
        png((b"zTXt", b"prompt\0\0" + zlib.compress(TEXT.encode()))),
        png((b"iTXt", b"prompt\0\0\0\0\0" + TEXT.encode())),
        png((b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(TEXT.encode()))),
        latent({"prompt": TEXT}),
    ],
)  # fmt: skip
def test_every_container_gives_the_same_workflow(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    assert load(tmp_path / "file").as_api() == GRAPH


def test_the_editors_workflow_is_kept() -> None:
    chunks = (b"tEXt", b"prompt\0" + TEXT.encode()), (b"tEXt", b'workflow\0{"nodes": []}')
    assert parse(png(*chunks)).editor == {"nodes": []}
    assert parse(png(chunks[0], (b"tEXt", b"workflow\0{"))).editor is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "invalid_json"), (b"{", "invalid_json"), (b"\xff\xfe\x00", "unknown_format"),
        (b"[]", "invalid_prompt"), (b"null", "invalid_prompt"), (b"{}", "prompt_no_outputs"),
        (b"7" * 5000, "invalid_json"), (b"[" * 100_000, "too_deep"),
        (b'"' + b"]" * 3000 + b'"' + b"[" * 3000, "too_deep"),
        (b'{"nodes": [], "links": []}', "ui_format"),
        (b'{"1": 5}', "invalid_prompt"), (b'{"1": {}}', "invalid_prompt"),
        (b'{"1": {"class_type": 5}}', "invalid_prompt"),
        (b'{"1": {"class_type": "A", "inputs": []}}', "invalid_prompt"),
        (json.dumps({str(i): {"class_type": "A"} for i in range(MAX_NODES + 1)}).encode(), "too_large"),
        (png(), "no_workflow"), (png((b"tEXt", b"prompt\0{")), "invalid_json"),
        (png((b"zTXt", b"prompt\0\0broken")), "invalid_json"),
        (png((b"tEXt", b"prompt\0" + TEXT.encode()))[:60], "invalid_json"),
        (latent(None), "no_workflow"),
        (latent({"prompt": 5}), "invalid_prompt"), (latent([1]), "no_workflow"),
        (latent({"prompt": "\ud800"}), "unknown_format"),
        (b"\xff\xd8\xff\xe0", "unknown_format"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_a_workflow_error_with_its_kind(data: bytes, code: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        parse(data, "some/file")
    assert caught.value.problems[0].code == code
    assert all(p.message for p in caught.value.problems)


def test_brackets_within_texts_are_no_nesting() -> None:
    node = {"class_type": "A", "inputs": {"text": "[" * 1_000}}
    assert parse(json.dumps({"1": node}).encode()).nodes["1"].inputs == node["inputs"]


def test_the_editors_form_is_read_where_the_classes_are_known() -> None:
    saved = {"id": 5, "type": "Value", "widgets_values": [7], "title": "Seven"}
    form = {"nodes": [saved], "links": []}
    chunk = png((b"tEXt", b"workflow\0" + json.dumps(form).encode()))
    bare, wrapped = (json.dumps(value).encode() for value in (form, {"workflow": form}))
    for data, format in ((bare, "ui"), (wrapped, "ui"), (chunk, "png")):
        found = parse(data, "file", REGISTRY.nodes)
        assert found.as_api() == {"5": n("Value", value=7) | {"_meta": {"title": "Seven"}}}
        assert (found.format, found.editor) == (format, form)
        with pytest.raises(WorkflowError, match="convert"):
            parse(data)


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda b: png((b"iTXt", b"prompt\0" + b))))
def test_any_bytes_are_a_workflow_or_a_workflow_error(data: bytes) -> None:
    try:
        assert parse(data).nodes
    except WorkflowError as error:
        assert error.problems  # noqa: PT017  (either outcome will do)


def test_every_malformed_node_is_named() -> None:
    with pytest.raises(WorkflowError) as caught:
        from_json({"1": {"inputs": {}}, "2": {"class_type": "A"}, "3": {"class_type": "A", "inputs": 4}})
    assert [(p.node_id, p.input) for p in caught.value.problems] == [("1", ""), ("3", "inputs")]


def test_a_file_that_is_not_there_is_a_workflow_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(WorkflowError) as caught:
            load(path)
        assert caught.value.problems[0].code == "unreadable"


# ---------------------------------------------------------------- setting inputs

NAMED = from_json(
    {
        "1": n("Value", value=1) | {"_meta": {"title": "Size"}},
        "2": n("Value", value=2) | {"_meta": {"title": "v1.5 model"}},
        "3": n("Show", value=["1", 0]) | {"_meta": {"title": "Twice"}},
        "4": n("Add", plus=1) | {"_meta": {"title": "Twice"}},
        "5.1": n("Total", values=["1", 0]),
    }
)


@pytest.mark.parametrize(
    ("name", "id", "port"),
    [
        ("1.value", "1", "value"), ("Size.value", "1", "value"), ("v1.5 model.value", "2", "value"),
        ("Add.plus", "4", "plus"), ("5.1.values", "5.1", "values"), ("1.in.0.", "1", "in.0."),
    ],
)  # fmt: skip
def test_an_input_is_set_by_id_title_or_class(name: str, id: str, port: str) -> None:
    changed = NAMED.with_inputs({name: 9})
    assert changed.nodes[id].inputs[port] == 9
    assert {i for i in NAMED.nodes if NAMED.nodes[i] != changed.nodes[i]} == {id}


def test_names_that_mean_nothing_or_too_much_are_all_refused() -> None:
    with pytest.raises(WorkflowError) as caught:
        NAMED.with_inputs({"Twice.value": 1, "Value.value": 1, "Sise.value": 1, "value": 1, ".x": 1, "1.": 1})
    hints = [p.hint for p in caught.value.problems]
    assert len(hints) == 6
    assert hints[0] == "use an id: 3, 4"
    assert hints[1] == "use an id: 1, 2"
    assert "'Size'" in hints[2]
