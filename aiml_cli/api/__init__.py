"""The request module: a conversation and settings in, events out."""
