"""The gateway's refusals: the status, the sentence, the shape of their body."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from uuid import uuid4

Json = Any

# The statuses that a model name asks for, each with a sentence such as the gateway gives. That of 429 speaks
# of nothing but the rate, so that a client may try again; that of 403 speaks of credit, as it does there.
STATUSES: Mapping[int, str] = {
    400: "Body validation error",
    401: "Unauthorized: the key is missing, expired or wrong",
    402: "Payment required: the balance is too low",
    403: "You've run out of credits. Please top up your balance or update your payment method to continue",
    404: "No endpoints found",
    413: "The request body is too large",
    422: "The request is well-formed but cannot be processed",
    429: "Too many requests, please slow down",
    500: "The model is under maintenance",
    502: "The provider gave no usable answer",
    503: "The model is not available at the moment",
    504: "The generation took too long",
}

# Python renamed these two in 3.13; the gateway did not.
_TITLES = {413: "Payload Too Large", 422: "Unprocessable Entity"}


class GatewayError(Exception):
    """Answer a request with an error of the gateway."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def error_body(status: int, message: str, path: str) -> Json:
    """Write the body of an error (API.md section 8, shape 2: seen live on 2026-08-30)."""
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    return {
        "title": title,
        "status": status,
        "message": message,
        "instance": path,
        "requestId": str(uuid4()),
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "error": {"name": title.replace(" ", "") + "Exception", "message": message},
    }
