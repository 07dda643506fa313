"""Words, stdin and files become a conversation's next message."""
