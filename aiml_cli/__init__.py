"""The command line of the AI/ML API, and the one place where its version stands."""

__version__ = "0.1.0"
