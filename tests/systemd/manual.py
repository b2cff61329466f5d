"""docs/operations.md as a script: what its `sh` blocks tell a user to type, and its `yaml` blocks to write."""

from __future__ import annotations

import re

from tests.source_tree import ROOT

OPERATIONS = ROOT / "docs" / "operations.md"

# The container's root needs no sudo and may not have it; what it does for the manual's commands is this.
SUDO = 'sudo() { if [ "$1" = -u ]; then runuser -u "$2" -- "${@:3}"; else "$@"; fi; }'


def scripts(section: str) -> list[str]:
    """The `sh` blocks of a section, each a bash script that stops at the first failure."""
    return [f"set -eu\n{SUDO}\n{block}" for block in _blocks(section, "sh")]


def settings(section: str) -> str:
    """The `yaml` block of a section."""
    (block,) = _blocks(section, "yaml")
    return block


def _blocks(section: str, language: str) -> list[str]:
    _, found, rest = OPERATIONS.read_text().partition(f"\n## {section}\n")
    assert found, f"{OPERATIONS} has no section {section!r}"
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", rest.partition("\n## ")[0], flags=re.DOTALL | re.MULTILINE)
    assert blocks, f"{section!r} has no {language} block"
    return blocks
