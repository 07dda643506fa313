"""One turn: build a request, send it, check the answer and save it."""
