"""Key files and allow lists: what is written, who may read it, what is refused, and how ZAP questions are answered."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import zmq.utils.z85
from click.testing import CliRunner

from splitd.agent.commands.cli import cli
from splitd.errors import ConfigError, UsageError
from splitd.transport.wire.keys import AllowList, generate_keys, load_pair, load_public, zap_reply

KEY = b"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"  # the example of ZeroMQ RFC 26


def test_a_pair_is_written_for_its_owner_only_and_can_be_read_back(tmp_path: Path) -> None:
    public, secret = generate_keys(tmp_path / "new" / "keys", "edge")
    assert {path.name for path in (tmp_path / "new" / "keys").iterdir()} == {"edge.key", "edge.key_secret"}
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    pair = load_pair(secret)
    assert load_public(public) == pair.public
    assert len(pair.secret) == 40
    assert pair.secret not in public.read_bytes()
    assert pair.secret.decode() not in repr(pair)


def test_existing_keys_are_never_replaced(tmp_path: Path) -> None:
    _, secret = generate_keys(tmp_path)
    before = secret.read_bytes()
    with pytest.raises(UsageError, match="exists"):
        generate_keys(tmp_path)
    assert secret.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write keys"):
        generate_keys(tmp_path / "file" / "keys")


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    _, secret = generate_keys(tmp_path)
    secret.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_pair(secret)


def test_files_that_are_no_secret_keys_are_refused(tmp_path: Path) -> None:
    public, _ = generate_keys(tmp_path)
    short = tmp_path / "short.key"
    short.write_text('curve\n    public-key = "abc"\n')
    (tmp_path / "noise").write_text("noise")
    for path, reason in ((public, "no secret key"), (tmp_path / "none", "keygen"), (tmp_path / "noise", "keygen")):
        with pytest.raises(ConfigError, match=reason):
            load_pair(path)
    with pytest.raises(ConfigError, match="3 characters"):
        load_public(short)


def test_an_allow_list_is_a_file_of_keys_names_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "allow"
    hash_key = b"#" * 40  # a letter of Z85 that also begins comments
    file.write_bytes(b"# devices\n\n" + KEY + b" kitchen\n  " + hash_key + b"\n#comment\n")
    allow = AllowList(file=file)
    assert len(allow) == 2
    assert allow.permits(KEY)
    assert allow.permits(hash_key)
    assert not allow.permits(b"0" * 40)


def test_reloading_a_broken_allow_list_keeps_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "allow"
    file.write_bytes(KEY)
    allow = AllowList(file=file)
    file.write_text("not a key\n")
    with pytest.raises(ConfigError, match="allow:1"):
        allow.reload()
    file.unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        allow.reload()
    assert allow.permits(KEY)


def zap(key: bytes, mechanism: bytes = b"CURVE") -> list[bytes]:
    return [b"1.0", b"7", b"splitd", b"127.0.0.1", b"", mechanism, key]


def test_zap_admits_only_keys_on_the_list() -> None:
    allow = AllowList([KEY])
    raw = zmq.utils.z85.decode(KEY)
    assert zap_reply(zap(raw), allow)[:3] == [b"1.0", b"7", b"200"]
    refused = [zap(b"x" * 32), zap(raw[:31]), zap(raw, b"PLAIN"), zap(raw, b"NULL")[:6], [], [b"2.0", b"7"]]
    assert all(zap_reply(request, allow)[2] == b"400" for request in refused)


def test_the_command_prints_the_public_key_and_never_the_secret(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["keygen", str(tmp_path), "--name", "edge"])
    assert result.exit_code == 0, result.output
    pair = load_pair(tmp_path / "edge.key_secret")
    assert pair.public.decode() in result.output
    assert pair.secret.decode() not in result.output
