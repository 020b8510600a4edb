"""The server: HTTP into calls of the engine. Nothing is here yet; `latentgraph serve` does not exist."""
