"""The JSON Schema of an answer: how it is given, sent and checked."""
