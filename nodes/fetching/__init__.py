"""Models from the Hugging Face hub into the model folders: which files, where to, and whole or not at all."""
