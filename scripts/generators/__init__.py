"""The generators of scripts/generate.py, one module for each generated file."""
