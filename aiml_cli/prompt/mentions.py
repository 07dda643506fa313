"""Find the files that `@path` among the words means."""

from collections.abc import Sequence

from aiml_cli.prompt.sources import SCHEMES, there


def mentioned(words: Sequence[str]) -> tuple[str, list[str]]:
    """Give the text that is left, and the names.

    Only a whole word of the command line names a file, and only when it is there, or when it is an address: a
    text that a script puts between quotes must not be able to send files. `@@x` means the text `@x`. In the
    text a name loses its @; where nothing else was said no text is left.
    """
    names = [word[1:] for word in words if _is_name(word)]
    text = " ".join(word[1:] if _is_name(word) or word.startswith("@@") else word for word in words)
    return "" if names and len(names) == len(words) else text, list(dict.fromkeys(names))


def _is_name(word: str) -> bool:
    name = word[1:]
    if not name or not word.startswith("@") or name.startswith("@"):
        return False
    return name.lower().startswith(SCHEMES) or there(name) is not None
