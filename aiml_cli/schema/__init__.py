"""Structured output: what the answer must be, how that is asked for, and whether it is so."""
