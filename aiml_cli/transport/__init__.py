"""Send a request, record it, or replay it."""
