"""The embedded server: the gateway's wire without a model, for trying things out offline."""
