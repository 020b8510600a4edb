"""The contact sheet as a page: one file that asks nobody for anything, with the pictures beside it."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from engine.batch import Batch
from server.batch.sheet_layout import Cell, Pairs, Section, Sheet, text_of
from server.batch.sheet_pictures import Pictures, Seen

TEMPLATE = Path(__file__).with_name("contact_sheet.html")
LABEL = 240
"""Characters of a label; its title has more, the large view all."""
MESSAGE = 300
TITLE = 4_000
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def page_of(sheet: Sheet, batch: Batch, pictures: Pictures) -> bytes:
    """The page of a sheet."""
    template = TEMPLATE.read_text(encoding="utf-8")
    filled = {
        "policy": _policy(template),
        "summary": _text(sheet.summary),
        "given": f'<p id="given">{_named(sheet.constants)}</p>' if sheet.constants else "",
        "sections": "\n".join(_section(section, sheet, pictures) for section in sheet.sections),
        "data": _data(sheet, batch, pictures),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: filled[match[1]], template).encode()


def _policy(template: str) -> str:
    """The content security policy: the style and the script of the template, and pictures from beside it."""
    hashes = {}
    for tag in ("style", "script"):
        found = re.search(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
        assert found is not None
        hashes[tag] = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    return "default-src 'none'; img-src 'self' file:; base-uri 'none'; form-action 'none'; " + "; ".join(
        f"{tag}-src 'sha256-{digest}'" for tag, digest in hashes.items()
    )


def _text(value: str) -> str:
    """Text inside a page: escaped, and with a sign in the place of what no page may hold."""
    return html.escape(_UNPRINTABLE.sub("\ufffd", value))


def _cut(value: str, most: int) -> str:
    line = " ".join(value[: 4 * most].split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _named(pairs: Pairs, tag: str = "span") -> str:
    return "".join(
        f'<{tag} title="{_text(value[:TITLE])}"><span class="name">{_text(name)}</span>'
        f'<bdi class="value">{_text(_cut(value, LABEL))}</bdi></{tag}>'
        for name, value in pairs
    )


def _values(pairs: Pairs) -> str:
    """A label of a row or column; the corner has the names where it is of one axis."""
    if len(pairs) != 1:
        return _named(pairs, "div")
    value = pairs[0][1]
    shown = _text(_cut(value, LABEL)) or "&nbsp;"
    return f'<div class="value" dir="auto" title="{_text(value[:TITLE])}">{shown}</div>'


def _section(section: Section, sheet: Sheet, pictures: Pictures) -> str:
    head = f"<h2>{_named(section.labels)}</h2>" if section.labels else ""
    if section.rows:
        body = _table(section, sheet, pictures)
    else:
        cells = (
            f'<li>{_tile(cell, pictures)}<div class="caption">{_named(cell.varied, "div")}</div></li>'
            for cell in section.cells
        )
        body = f'<ul class="run">\n{chr(10).join(cells)}\n</ul>'
    return f"<section>{head}{body}</section>"


def _table(section: Section, sheet: Sheet, pictures: Pictures) -> str:
    down, right = (_text(axis) for axis in _brief([names for names, _ in sheet.axes])[-2:])
    heads = "".join(f'<th scope="col">{_values(pairs)}</th>' for pairs in section.columns)
    corner = f'<th class="corner">{down}&nbsp;↓<br>{right}&nbsp;→</th>'
    lines = [f'<div class="scroll"><table><thead><tr>{corner}{heads}</tr></thead><tbody>']
    width = len(section.columns)
    for number, label in enumerate(section.rows):
        cells = section.cells[number * width : (number + 1) * width]
        tiles = "\n".join(f"<td>{_tile(cell, pictures)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{_values(label)}</th>\n{tiles}</tr>')
    return "\n".join((*lines, "</tbody></table></div>"))


def _brief(axes: Sequence[Sequence[str]]) -> list[str]:
    """What axes are called where there is little room: by their inputs alone, where these are distinct."""
    names = [name for axis in axes for name in axis]
    short = {name: name.rpartition(".")[2] for name in names}
    distinct = len(set(short.values())) == len(names)
    return [" + ".join(short[name] if distinct else name for name in axis) for axis in axes]


def _tile(cell: Cell, pictures: Pictures) -> str:
    found = pictures.first(cell.paths)
    job = f'data-job="{cell.number}"'
    if found is None:
        kind = "error" if cell.status == "error" else "none"
        says, title = _text(_cut(cell.message, MESSAGE)), _text(cell.message[:TITLE])
        inside = f'<span class="says" title="{title}">{says}</span>'
        return f'<a class="tile {kind}" {job} href="#job-{cell.number}">{inside}</a>'
    path, seen = found
    count = f'<span class="count">{len(cell.paths)}</span>' if len(cell.paths) > 1 else ""
    inside = (
        f'<img src="{_address(path)}" width="{seen.width}" height="{seen.height}" alt="Job {cell.number}" '
        'loading="lazy" decoding="async">'
        if seen.width
        else f'<span class="says">{_text(PurePosixPath(path).name)}{_said(seen)}</span>'
    )
    kind = " error" if cell.status == "error" or seen.problem else ""
    return f'<a class="tile{kind}" {job} href="{_address(path)}">{inside}{count}</a>'


def _said(seen: Seen) -> str:
    return f": {_text(seen.problem)}" if seen.problem else ""


def _address(path: str) -> str:
    return html.escape("./" + quote(path, safe="/", errors="replace"))


# ------------------------------------------------------------ what the large view and the filter know


class _Numbers:
    """Texts by number, each once."""

    def __init__(self) -> None:
        self.all: dict[str, int] = {}

    def __getitem__(self, text: str) -> int:
        return self.all.setdefault(text, len(self.all))


def _data(sheet: Sheet, batch: Batch, pictures: Pictures) -> str:
    texts, names, nodes = _Numbers(), _Numbers(), _Numbers()
    titles = {id: f"{n.title or n.class_type} ({id})" for id, n in batch.workflow.nodes.items()}
    shared = [*_shared(batch)]
    jobs = []
    for cell in sorted(sheet.cells, key=lambda c: c.number):
        keys: Mapping[str, Any] = (cell.line or {}).get("keys") or {}
        files = [(path, pictures.seen(path)) for path in cell.paths]
        jobs.append(
            (
                cell.number,
                cell.status,
                "" if cell.status == "success" and files else cell.message,
                [(names[name], texts[value]) for name, value in cell.varied],
                [
                    (path, seen.width, seen.height, f"{seen.problem}: " * bool(seen.problem))
                    for path, seen in files
                ],
                [(nodes[titles.get(id, id)], texts[str(key)]) for id, key in keys.items()],
            )
        )
    value = {
        "names": [*names.all],
        "nodes": [*nodes.all],
        "texts": [*texts.all],
        "constants": sheet.constants,
        "seeds": [pair for pair in shared if _is_seed(pair[0])],
        "settings": [pair for pair in shared if not _is_seed(pair[0])],
        "jobs": jobs,
    }
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _shared(batch: Batch) -> Iterator[tuple[str, str]]:
    """The inputs that no job varies, with their values."""
    varied = [batch.workflow.find(axis.name) for axis in batch.axes]
    for id, node in batch.workflow.nodes.items():
        for port, value in node.inputs.items():
            if (id, port) not in varied and port != "filename_prefix" and not isinstance(value, list):
                yield f"{node.title or node.class_type}.{port}", text_of(value)


def _is_seed(name: str) -> bool:
    return name.endswith("seed")
