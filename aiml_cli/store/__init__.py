"""Files on disk: config, API keys, templates, history and cached models."""
