"""The hint to install an extra fits the way in which the program was installed."""

import pytest

from aiml_cli.errors import build_install_command


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/me/.local/share/pipx/venvs/aiml-cli", "pipx inject aiml-cli pyyaml"),
        ("/home/me/.local/share/uv/tools/aiml-cli", "uv tool install 'aiml-cli[yaml]'"),
        ("/home/me/project/.venv", "pip install 'aiml-cli[yaml]'"),
    ],
)
def test_the_install_hint_uses_the_tool_that_installed_aiml(
    prefix: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.prefix", prefix)
    assert build_install_command("yaml", "pyyaml") == command
