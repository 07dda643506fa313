"""Ask many requests at once: rows, models, or pieces of a long input."""
