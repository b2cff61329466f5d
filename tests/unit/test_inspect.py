"""`splitd inspect` prints every cut: one JSON document for programs, a table for people."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from splitd.agent.commands.cli import cli, main

MODEL = "test_efficientnet"


def inspect(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["inspect", MODEL, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("granularity", ["block", "op"])
def test_the_json_document_is_complete_and_consistent(granularity: str) -> None:
    document = json.loads(inspect("--json", "--image-size", "96", "--granularity", granularity))
    cuts = document.pop("cuts")
    assert document.pop("preprocessing")["size"] == [3, 96, 96]
    assert document.pop("inputs") == [{"shape": [3, 96, 96], "dtype": "float32"}]
    assert document == {
        "schema_version": 1,
        "model": MODEL,
        "image_size": 96,
        "granularity": granularity,
        "positions": len(cuts),
        "natural": sum(cut["natural"] for cut in cuts),
        "compressive": sum(cut["compressive"] for cut in cuts),
    }
    keys = {"name", "module", "shapes", "elements", "bytes_f32", "ratio", "natural", "compressive"}
    assert all(set(cut) == keys for cut in cuts)
    assert len(cuts) > (40 if granularity == "op" else 3)


def test_the_table_names_the_cuts_and_counts_the_bottlenecks() -> None:
    output = inspect("--image-size", "96")
    assert "blocks.0.0" in output
    assert "compressive" in output


def test_an_unknown_model_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["inspect", "efficientnet_b00"])
    assert exit_info.value.code == 1
    assert "did you mean efficientnet_b0" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--granularity", "layer"], ["--image-size", "0"]])
def test_wrong_options_are_usage_errors(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, ["inspect", MODEL, *arguments]).exit_code == 2
