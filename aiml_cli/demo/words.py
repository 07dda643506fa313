"""What can be said of a text without understanding it: its size, its frequent words, its script."""

import re
import unicodedata
from collections import Counter

_STOPWORDS = {
    "English": "the a an and of to in is it you that what why how are for with this was be on do hello hi there my me",
    "German": "der die das und ist nicht ein eine ich zu den mit wie was warum wir auf für von es hallo bitte",
    "French": "le la les et est un une des que pourquoi je vous dans pour pas sur avec qui du ce bonjour salut",
    "Spanish": "el los las y es un una que por qué para con no en del cómo se lo su al hola",
    "Italian": "il gli e è un una che perché per con non di della come sono nel lo mi si ciao",
    "Portuguese": "o os as e é um uma que por para com não em do da como se no na eu olá",
    "Dutch": "de het een en is niet van ik dat wat waarom met voor op zijn je te hoe er aan",
}
_SCRIPTS = {
    "CJK": "Chinese characters",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
}
_SAMPLE = 2000  # characters are enough to guess from


def words_of(text: str) -> list[str]:
    """List the words of a text."""
    return re.findall(r"\w+(?:['\u2019-]\w+)*", text)


def beginning(text: str, length: int = 60) -> str:
    """Give the beginning of a text on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1].rstrip() + "…"


def count(number: int, noun: str) -> str:
    """Write a number with its noun: 1 word, 2 words."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def size(text: str) -> str:
    """Say how long a text is."""
    parts = (len(words_of(text)), "word"), (len(text), "character"), (len(text.splitlines()), "line")
    return ", ".join(count(number, noun) for number, noun in parts)


def frequent(text: str, most: int = 3) -> list[str]:
    """List the words that come most often, each with how often."""
    counted = Counter(word.lower() for word in words_of(text))
    return [f"{word} ({times}×)" for word, times in counted.most_common(most)]  # noqa: RUF001 - a sign for the eye


def language(text: str) -> str:
    """Guess the language by its script, and among Latin ones by the most frequent small words."""
    letters = [letter for letter in text[:_SAMPLE] if letter.isalpha()]
    scripts = Counter(unicodedata.name(letter, "UNNAMED").split()[0] for letter in letters)
    if not scripts:
        return "no language"
    if scripts.keys() & {"HIRAGANA", "KATAKANA"}:  # mixed with Chinese characters, which may be more
        return "Japanese"
    script = scripts.most_common(1)[0][0]
    return _by_stopwords(text) if script == "LATIN" else _SCRIPTS.get(script, f"{script.title()} script")


def _by_stopwords(text: str) -> str:
    spoken = Counter(word.lower() for word in words_of(text[:_SAMPLE]))
    hits = {name: sum(spoken[word] for word in stops.split()) for name, stops in _STOPWORDS.items()}
    best = max(hits, key=lambda name: hits[name])
    return best if hits[best] else "Latin script"
