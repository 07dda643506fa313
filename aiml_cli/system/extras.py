"""How to install an optional dependency, in the way in which this program was installed."""

import sys
from pathlib import Path

DISTRIBUTION = "aiml-cli"


def build_install_command(extra: str, package: str) -> str:
    """Return the command that installs an extra; `package` is what the extra contains."""
    parts = Path(sys.prefix).parts
    if "pipx" in parts:
        return f"pipx inject {DISTRIBUTION} {package}"
    if "uv" in parts and "tools" in parts:
        return f"uv tool install '{DISTRIBUTION}[{extra}]'"
    return f"pip install '{DISTRIBUTION}[{extra}]'"
