"""The editor's own form of a workflow (version 0.4 and 1), turned into the API form; knows no node by name.

`saved` reads the JSON, `broadcasts` adds links that a pack does not draw, `groups` lays old group nodes open,
`widgets` names the values of a node, `promoted` those of a subgraph's instance; `links` follows links through
what is only drawn (reroutes, muted and bypassed nodes, subgraphs), `texts` fills in what editors fill in, and
`flat` writes the nodes that run.
"""

from engine.editor.flat import Flat, flattened
from engine.editor.saved import is_editor_form

__all__ = ["Flat", "flattened", "is_editor_form"]
