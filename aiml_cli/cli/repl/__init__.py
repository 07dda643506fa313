"""The REPL: a conversation in turns on a terminal."""
