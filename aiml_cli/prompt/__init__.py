"""Compose the next message from the typed words, standard input and files."""
