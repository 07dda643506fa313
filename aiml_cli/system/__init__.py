"""This machine: signals, the terminal, standard streams, files and child processes."""
