"""What packs import of the module that runs prompts; the engine runs them here."""

from comfy_execution.graph import ExecutionBlocker
from comfy_execution.validation import validate_node_input

__all__ = ["ExecutionBlocker", "validate_node_input"]
