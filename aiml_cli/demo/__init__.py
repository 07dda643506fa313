"""The demo server: the gateway's API without a model, for trying things out offline."""
