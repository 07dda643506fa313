"""Estimate how many tokens a text takes; no tokenizer, pure.

Vocabularies differ from model to model, and most are not published. The guess is rather too high than too low: three
characters of ASCII a token (prose has four, code and figures three), and half a token more for each further byte
that UTF-8 needs (Cyrillic 0.8 a character, Chinese 1.3).
"""

CHARACTERS = 3
FURTHER_BYTES = 2


def estimate_tokens(text: str) -> int:
    """Give the tokens that a text takes at most, in all likelihood."""
    further = 0 if text.isascii() else len(text.encode("utf-8", "replace")) - len(text)
    return -(-len(text) // CHARACTERS) + -(-further // FURTHER_BYTES)
