"""Send many requests at once: rows, models, or chunks of a long input."""
