"""The engine: typed nodes on a DAG, a cache that outlives the process; it knows no model and no picture.

- A **port** (`engine.ports`) is a link type; facts inside `Annotated[...]` say the rest: range, choices.
- A **node** (`engine.node`) is a typed, keyword-only function whose signature is its interface.
- A **workflow** (`engine.workflow`) is a file's plain data; a **graph** (`engine.graph`) is its NetworkX DAG,
  bound to node declarations and checked (`engine.check`).
- A **key** (`engine.keys`) is the content address of a node's result: what it is and all that it depends on.
- A **plan** (`engine.plan`) says what will run and what the **cache** (`engine.cache`) has.
- A **step** (`engine.steps`) is what a running generator node asks for: model calls, lazy inputs, more nodes.
- A **job** (`engine.job`) runs a plan; the **lane** (`engine.lane`) batches the model calls of all jobs.
"""
