"""What lasts on disk: config, key, cache."""
