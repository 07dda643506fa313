"""What a user can set, and who said so."""
