"""A stored catalog with prices, and the cost of an answer by it."""

import json
import time
from typing import Any

from support.loopback import Loopback

from aiml_cli.api.model_list import parse_models
from aiml_cli.store.model_cache import CachedModels, save_models

PRICES = {
    "units": [
        {"name": "token", "content": "text", "origin": origin, "price": price, "per": 1000000}
        for origin, price in (("provided", 10), ("generated", 100), ("cached", 1))
    ]
}
EXPECTED_COST = 0.000521


def store_catalog(server: Loopback, **entry: Any) -> None:
    """Store a catalog of one model, as if it had been fetched from the server."""
    body = json.dumps({"data": [{"id": "m", "type": "openai/chat-completions", **entry}]}).encode()
    save_models(CachedModels(server.url, "", time.time(), body, parse_models(body)))
