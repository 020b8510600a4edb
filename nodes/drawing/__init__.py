"""Pictures of workflows: boxes of the nodes, one layout, and two ways to write it down (SVG, PNG)."""
