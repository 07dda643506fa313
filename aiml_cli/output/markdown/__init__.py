"""Markdown on a terminal: parsed into blocks, drawn as lines, and only the changing end redrawn."""
