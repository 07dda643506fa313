"""The gateway's errors: status, message, and the JSON of their body."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from uuid import uuid4

from aiml_cli.demo.parsed_request import Json

# The statuses of the demo/status-… models. The message for 429 mentions nothing but the rate, so that a client
# retries; the one for 403 mentions credits, as the gateway's does.
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

# Python 3.13 renamed these two; the gateway did not.
_TITLES = {413: "Payload Too Large", 422: "Unprocessable Entity"}


class GatewayError(Exception):
    """An error that the gateway answers a request with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def build_error_body(status: int, message: str, path: str) -> Json:
    """Return the body of an error (API.md section 8, shape 2: seen live on 2026-08-30)."""
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
