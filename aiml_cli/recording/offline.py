"""Stand in the place of a client where a recording answers."""

from aiml_cli.api.watch import Wire


class Offline:
    """Hold what others may ask a client for: a connection that there is not."""

    def __init__(self) -> None:
        self.wire = Wire()
