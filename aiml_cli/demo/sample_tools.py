"""Tools to try with the embedded server, as tool files have them; a file of the user with the same name wins."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SAMPLES_PATH = Path(__file__)
SAMPLE_TOOLS: Mapping[str, Mapping[str, Any]] = {
    "weather": {
        "description": "Say what the weather is like in a city. This is a sample: nothing is measured.",
        "params": "city",
        "run": [
            "printf",
            "--",
            "It is sunny in %s, with 18 degrees. (This is a sample; nothing was measured.)\\n",
            "{city}",
        ],
    },
    "time": {"description": "Say what time it is on this machine.", "run": ["date"]},
}
