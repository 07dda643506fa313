"""The command line: commands, flags, and the REPL."""
