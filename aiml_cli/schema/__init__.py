"""The JSON Schema of an answer: load it, send it, and check the answer."""
