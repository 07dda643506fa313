"""Events in, terminal or pipe out."""
