"""YAML with line numbers: plain data, and for every key path the line it stands on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from splitd.errors import ConfigError

MAX_CONFIG_BYTES = 1 << 20  # a configuration is written by hand; a larger file is a mistake (a model, a log)

KeyPath = tuple[str | int, ...]


def load_yaml(path: Path) -> tuple[Any, dict[KeyPath, int]]:
    """Read one YAML document.

    Returns:
        The data, and the line (from 1) of each key path in it.

    Raises:
        ConfigError: Unreadable, not a file, too large, not UTF-8, empty, broken YAML, or duplicate keys.
    """
    text = _read(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        hint = " (YAML indents with spaces, not tabs)" if "'\\t'" in str(error.problem) else ""
        raise ConfigError([f"{path}:{line}: not valid YAML: {error.problem or error.context}{hint}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not valid YAML: {error}"]) from None
    if root is None:
        raise ConfigError([f"{path}: the file is empty; start from the example that comes with splitd"])
    lines: dict[KeyPath, int] = {}
    problems: list[str] = []
    _walk(root, (), lines, problems, path)
    if problems:
        raise ConfigError(problems)
    return data, lines


def _read(path: Path) -> str:
    if path.is_dir():
        raise ConfigError([f"{path}: this is a directory; name the YAML file in it"])
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError([f"{path}: there is no such file"]) from None
    except PermissionError:
        raise ConfigError([f"{path}: no permission to read it; check its owner and mode"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError([f"{path}: larger than {MAX_CONFIG_BYTES} bytes, so it is not a splitd configuration"])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path}:{line}: not UTF-8 text"]) from None


def _walk(node: yaml.Node, at: KeyPath, lines: dict[KeyPath, int], problems: list[str], path: Path) -> None:
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in seen:
                name = ".".join(map(str, (*at, key)))
                problems.append(f"{path}:{line}: {name}: given twice (first on line {seen[key]}); remove one")
            seen[key] = line
            lines[(*at, key)] = line
            _walk(value_node, (*at, key), lines, problems, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*at, index), lines, problems, path)
