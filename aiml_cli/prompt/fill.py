"""Put values in the place of a text's variables; pure.

Only `{name}` is a variable, so that code stays what it is: `{"a": {"b": 1}}` has none. `{{name}}` is the text `{name}`.
"""

import re
from collections.abc import Mapping

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORM = re.compile(rf"\{{\{{({NAME.pattern})\}}\}}|\{{({NAME.pattern})\}}")


def variables(text: str) -> list[str]:
    """List the variables of a text in their order, each once."""
    return list(dict.fromkeys(found[2] for found in _FORM.finditer(text) if found[2]))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put the values in, all at once: what looks like a variable in a value stays text. A missing one stays too."""
    return _FORM.sub(lambda found: f"{{{found[1]}}}" if found[1] else values.get(found[2], found[0]), text)


def begun(text: str, values: Mapping[str, str]) -> str:
    """Put values in for good, and leave all other variables to a later `fill`."""
    return _FORM.sub(lambda found: found[0] if found[1] else values.get(found[2], found[0]), text)


def escaped(text: str) -> str:
    """Write a text so that `fill` gives it back as it is."""
    return re.sub(rf"\{{({NAME.pattern})\}}", r"{{\1}}", text)
