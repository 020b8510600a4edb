"""Custom node packs of the ComfyUI ecosystem: found, loaded, and run as nodes of the engine."""
