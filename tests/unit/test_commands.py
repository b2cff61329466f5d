"""`splitd` starts fast: its help loads no command, and says of each what the command itself says."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from splitd.agent.commands.cli import COMMANDS, cli
from tests.source_tree import ROOT, SOURCE

# Counted, because a busy machine's seconds say nothing: `--help` is Python itself and click, `check-config` numpy and
# pydantic besides. Each of the heavy ones alone takes longer than both.
MODULES = {"--help": 260, "check-config": 700}
HEAVY = {"torch", "timm", "onnx", "onnxruntime", "openvino", "aiohttp", "zmq", "rich", "PIL", "scipy", "sympy"}


def loaded(*arguments: str) -> set[str]:
    """The modules that `splitd ARGUMENTS` has loaded when it ends."""
    program = (
        "import sys\n"
        "from splitd.agent.commands.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('loaded', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True, cwd=SOURCE
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "arguments", [("--help",), ("check-config", str(ROOT / "systemd/agent.yaml"))], ids=["help", "check-config"]
)
def test_what_a_person_types_most_loads_little(arguments: tuple[str, ...]) -> None:
    modules = loaded(*arguments)
    assert {name.split(".")[0] for name in modules} & HEAVY == set()
    assert len(modules) < MODULES[arguments[0]]


def test_the_client_is_loaded_when_it_is_asked_for() -> None:
    program = "import sys, splitd; assert 'zmq' not in sys.modules; from splitd import Client, Result; print(Client)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=SOURCE, capture_output=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps(name: str) -> None:
    assert CliRunner().invoke(cli, [name, "--help"], catch_exceptions=False).exit_code == 0
