"""Build requests to the two endpoints, and turn their answers into events: no network, no terminal."""
