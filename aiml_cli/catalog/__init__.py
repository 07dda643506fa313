"""What models exist, what they accept and what they cost."""
