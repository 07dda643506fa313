"""Hold what is attached against what the catalogue says that the model takes; the stored copy is enough."""

from collections.abc import Sequence

from aiml_cli.api.messages import Conversation, Document, Image, Message, Sound
from aiml_cli.api.model_list import Model
from aiml_cli.catalog import find_models
from aiml_cli.errors import UsageError
from aiml_cli.prompt.attachments import Attachment
from aiml_cli.settings.resolve import Settings

MOST_NAMED = 3
# What the catalogue calls the kinds of input (2026-09): image, document, audio; the others are what it may say.
WORDS = {
    "image": ("image", "images", "vision"),
    "PDF": ("document", "file", "pdf"),
    "audio": ("audio", "sound", "speech"),
}


def check_attachments(attached: Sequence[Attachment], settings: Settings, endpoint: str) -> None:
    """Raise UsageError for what the model cannot take, naming some that can; where nothing is known nothing is said."""
    models = find_models.load_stored_models(settings) or []
    name = settings.options.model or ""
    model = next((each for each in models if name == each.id), None)
    model = model or next((each for each in models if name in each.aliases), None)
    if model is None or not model.inputs:
        return
    kinds = list(dict.fromkeys(map(_kind, attached)))
    for kind, each in zip(map(_kind, attached), attached, strict=True):
        if not _takes(model, kind):
            others = [other.id for other in models if endpoint in other.endpoints and _takes_all(other, kinds)]
            some = ", ".join(others[:MOST_NAMED])
            raise UsageError(
                f"{name} takes no {kind}, and {each.name} is {each.type}", f"these do: {some}" if some else ""
            )


def list_attachments(said: Conversation) -> list[Attachment]:
    """List what goes along with the last message, as far as its parts tell."""
    last = said.messages[-1] if said.messages else None
    parts = last.content if isinstance(last, Message) else ()
    return [_attached(part) for part in parts if not isinstance(part, str)]


def _attached(part: Image | Document | Sound) -> Attachment:
    match part:
        case Document(name, _):
            return Attachment(name, "application/pdf", None)
        case Sound(_, form):
            return Attachment("what is attached", f"audio/{form}", None)
        case Image(url, _):
            kind = url.removeprefix("data:").partition(";")[0] if url.startswith("data:") else "image"
            return Attachment("what is attached", kind, None)


def _kind(attached: Attachment) -> str:
    kind = attached.type.partition("/")[0]
    return "PDF" if kind == "application" else kind


def _takes(model: Model, kind: str) -> bool:
    return any(word.lower() in WORDS[kind] for word in model.inputs)


def _takes_all(model: Model, kinds: Sequence[str]) -> bool:
    return all(_takes(model, kind) for kind in kinds)
