"""Hold together what it takes to send a question, so that it can be sent in several ways."""

from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.errors import AimlError
from aiml_cli.question import Question, masked, request_of

if TYPE_CHECKING:
    from aiml_cli.api.messages import Conversation
    from aiml_cli.api.traffic import Request
    from aiml_cli.screen.choose import Screen
    from aiml_cli.store.key import Key
    from aiml_cli.talk import Talk


# The ways to send what was said before: by the name that the server knows it by, whole, whole without reasoning.
BY_ID, WHOLE, WITHOUT_REASONING = range(3)


class Asking(NamedTuple):
    """Hold who asks what; `said` is what is new in the conversation."""

    talk: "Talk"
    question: Question
    said: "Conversation"
    key: "Key | None"
    screen: "Screen"

    def request(self, said: "Conversation | None" = None, how: int = BY_ID) -> "Request":
        """Make the request; `how` is in which way what was said before is sent."""
        body = self.question.body(said or self.said, how)
        self.talk.continued = body.get("previous_response_id")
        return request_of(self.question, body, self.key)

    def send(self, request: "Request") -> None:
        """Send a request, and show what comes."""
        self.talk.hold(request, self.question.options, self.screen, self.mask)

    def mask(self, error: AimlError) -> AimlError:
        """Take the key out of a failure before anybody sees it."""
        return masked(error, self.key)
