"""The command line of the AI/ML API; the only place that defines its version."""

__version__ = "0.1.0"
