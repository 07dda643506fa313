"""Renderers, which turn events into text on a terminal, in a pipe or in a file."""
