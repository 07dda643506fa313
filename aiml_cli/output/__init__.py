"""Renderers: events in; text on a terminal, in a pipe or in a file out."""
