"""Record exchanges in a file, and answer from it."""
