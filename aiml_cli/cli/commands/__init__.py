"""The commands of `aiml`, one module each."""
