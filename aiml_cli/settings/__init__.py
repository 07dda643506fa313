"""The options that a user can set, and where their values come from."""
