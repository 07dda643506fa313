"""Check that the model accepts the attachments of a message, by the stored catalog."""

from collections.abc import Sequence

from aiml_cli.api.messages import Conversation, Document, Image, Message, Sound
from aiml_cli.api.model_list import Model
from aiml_cli.catalog import load_catalog
from aiml_cli.errors import UsageError
from aiml_cli.prompt.attachments import Attachment
from aiml_cli.settings.resolve import Settings

MAX_SUGGESTIONS = 3
# The catalog's names of the inputs (2026-09: image, document, audio), and likely other ones.
INPUT_NAMES = {
    "image": ("image", "images", "vision"),
    "PDF": ("document", "file", "pdf"),
    "audio": ("audio", "sound", "speech"),
}


def check_attachments(attachments: Sequence[Attachment], settings: Settings, endpoint: str) -> None:
    """Raise UsageError, with other models as a hint, if the catalog says that the model rejects an attachment."""
    models = load_catalog.load_stored_models(settings) or []
    name = settings.options.model or ""
    model = next((model for model in models if name == model.id), None)
    model = model or next((model for model in models if name in model.aliases), None)
    if model is None or not model.inputs:
        return
    kinds = list(map(_find_kind, attachments))
    for kind, attachment in zip(kinds, attachments, strict=True):
        if not _accepts(model, kind):
            others = [m.id for m in models if endpoint in m.endpoints and all(_accepts(m, needed) for needed in kinds)]
            some = ", ".join(others[:MAX_SUGGESTIONS])
            raise UsageError(
                f"{name} takes no {kind}, and {attachment.name} is {attachment.media_type}",
                f"these do: {some}" if some else "",
            )


def list_attachments(conversation: Conversation) -> list[Attachment]:
    """Return the attachments of the last message, without their sizes."""
    last = conversation.messages[-1] if conversation.messages else None
    parts = last.content if isinstance(last, Message) else ()
    return [_describe_part(part) for part in parts if not isinstance(part, str)]


def _describe_part(part: Image | Document | Sound) -> Attachment:
    match part:
        case Document(name, _):
            return Attachment(name, "application/pdf", None)
        case Sound(_, audio_format):
            return Attachment("what is attached", f"audio/{audio_format}", None)
        case Image(url, _):
            media_type = url.removeprefix("data:").partition(";")[0] if url.startswith("data:") else "image"
            return Attachment("what is attached", media_type, None)


def _find_kind(attachment: Attachment) -> str:
    kind = attachment.media_type.partition("/")[0]
    return "PDF" if kind == "application" else kind


def _accepts(model: Model, kind: str) -> bool:
    return any(name.lower() in INPUT_NAMES[kind] for name in model.inputs)
