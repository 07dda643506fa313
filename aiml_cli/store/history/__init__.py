"""The history of conversations, in a SQLite file."""
