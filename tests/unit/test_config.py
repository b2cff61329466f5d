"""Bad configuration files: every fault at once, with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from splitd.agent.commands.cli import cli
from splitd.agent.configuration.schema import AgentConfig, ServerConfig, is_loopback, load_config
from splitd.errors import ConfigError


def problems(tmp_path: Path, text: str, kind: type[AgentConfig] | type[ServerConfig] = AgentConfig) -> list[str]:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, kind)
    return [problem.removeprefix(str(path)) for problem in caught.value.problems]


def test_a_minimal_agent_file_is_valid_and_has_defaults(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("server: {address: 'tcp://127.0.0.1:7571'}\n")
    config = load_config(path, AgentConfig)
    assert config.model.name == "efficientnet_b0"
    assert config.intake.max_batch == 8


def test_an_empty_mapping_is_a_valid_server_file(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_text("bind: tcp://127.0.0.1:7571\n")
    assert is_loopback(load_config(path, ServerConfig).bind)


def test_every_problem_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    text = "server: {address: 'tcp://127.0.0.1:7571'}\nmodel:\n  nmae: x\nintake:\n  max_batch: 0\n  max_queue: many\n"
    found = problems(tmp_path, text)
    assert len(found) == 3
    assert any(p.startswith(":3: model.nmae: unknown key; did you mean `name`?") for p in found)
    assert any(p.startswith(":5: intake.max_batch:") and "greater than or equal to 1" in p for p in found)
    assert any(p.startswith(":6: intake.max_queue:") and "'many'" in p for p in found)


def test_a_duplicate_key_names_both_lines(tmp_path: Path) -> None:
    assert problems(tmp_path, "log_level: info\nlog_level: debug\n") == [
        ":2: log_level: given twice (first on line 1); remove one"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ": the file is empty"),
        ("server:\n\taddress: x\n", ":2: not valid YAML"),
        ("- a\n- b\n", ":1: expected `key: value` lines"),
        ("log_level: info\n", ":1: server: this key is required"),
        ("server: {address: 'http://x'}\n", ":1: server.address: 'http://x' is not of the form tcp://HOST:PORT"),
        ("server: {address: 'tcp://x:70000'}\n", ":1: server.address:"),
        ("server: {address: 'tcp://192.168.0.9:7571'}\n", "is not a loopback address and there are no keys"),
        ("a: [1\n", "not valid YAML"),
        (
            "server: {address: 'tcp://127.0.0.1:1'}\nplanner:\n  codecs: [u8, u9]\n",
            ":3: planner.codecs.1: unknown codec 'u9'",
        ),
    ],
)
def test_bad_text_is_named(tmp_path: Path, text: str, expected: str) -> None:
    assert any(expected in problem for problem in problems(tmp_path, text))


def test_insecure_must_be_said_to_leave_loopback_without_keys(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("server: {address: 'tcp://192.168.0.9:7571'}\ninsecure: true\n")
    assert load_config(path, AgentConfig).insecure


def test_missing_files_and_directories_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(tmp_path / "none.yaml", AgentConfig)
    with pytest.raises(ConfigError, match="this is a directory"):
        load_config(tmp_path, AgentConfig)


def test_binary_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_bytes(b"log_level: info\n\xff\xfe")
    with pytest.raises(ConfigError, match=":2: not UTF-8"):
        load_config(path, AgentConfig)


def test_check_config_tells_the_kind_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("bind: tcp://127.0.0.1:7571\n")
    result = CliRunner().invoke(cli, ["check-config", str(path)])
    assert result.exit_code == 0, result.output
    assert "a valid server configuration" in result.output


@pytest.mark.parametrize(
    ("key", "value"), [("name", "resnet50"), ("weights", "pretrained"), ("image_size", "64"), ("preprocessing", "none")]
)
def test_a_bundle_and_a_model_exclude_each_other(tmp_path: Path, key: str, value: str) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(f"model:\n  bundle: net.splitd\n  {key}: {value}\n")
    with pytest.raises(ConfigError, match=f"server.yaml:1: model: bundle and {key} exclude each other"):
        load_config(path, ServerConfig)


def test_only_a_device_gets_its_bundle_from_a_server(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("server: {address: tcp://127.0.0.1:1}\nmodel: {bundle: from-server}\n")
    assert load_config(path, AgentConfig).model.comes_from_server
    path.write_text("model: {bundle: from-server}\n")
    with pytest.raises(ConfigError, match=r"model\.bundle: a server has no server to get it from"):
        load_config(path, ServerConfig)
