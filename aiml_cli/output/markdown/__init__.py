"""Markdown on a terminal: blocks in, lines out, and of the open end only what changes."""
