"""A device without a network gets the server's file over real sockets, or uses what it has; keys, limits, disks."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from splitd.errors import ConfigError, LinkError, OverloadError, StateError
from splitd.transport.device.bundle_store import BundleStore
from splitd.transport.device.fetch import FetchedBundle, FetchLimits, FetchProgress
from splitd.transport.device.session import Session
from splitd.transport.server.bundle_offer import BundleOffer
from splitd.transport.wire.keys import AllowList, ClientKeys, generate_keys, load_pair
from splitd.transport.wire.limits import KIB, MIB
from splitd.transport.wire.messages import Hello
from tests.echo_server import CUTS, MODEL
from tests.sessions import wait_state
from tests.support.fetching import (
    CONTENT,
    PATIENCE_S,
    QUICK,
    StopError,
    Watch,
    digest_name,
    fetch,
    files,
    serving,
)
from tests.support.file_pair import noise
from tests.tcp_relay import TcpRelay


def test_a_device_gets_the_file_and_then_an_ordinary_session(tmp_path: Path) -> None:
    into = tmp_path / "state" / "bundles"
    watch = Watch()
    with serving(CONTENT, tmp_path) as server:
        found = fetch(server.address, into, watch)
        assert (found.is_new, found.trouble) == (True, None)
        assert found.path.read_bytes() == CONTENT
        assert files(into) == [digest_name(CONTENT)]
        device = Session(server.address, Hello(MODEL, CUTS, "1", "device"), limits=QUICK)
        device.start()
        wait_state(device, "ready", timeout_s=PATIENCE_S)
        assert server.clients() == ("device",)  # the fetch has said BYE
        device.close()
    received = [progress.received_bytes for progress in watch.seen]
    assert received == sorted(received)
    assert watch.seen[-1].name == "net"
    assert watch.seen[-1].total_bytes == len(CONTENT)


def test_a_file_that_is_there_is_used_at_once(tmp_path: Path) -> None:
    into = tmp_path / "bundles"
    with serving(CONTENT, tmp_path) as server:
        fetch(server.address, into)
        watch = Watch()
        assert fetch(server.address, into, watch) == FetchedBundle(into / digest_name(CONTENT), False, None)
        assert max(progress.received_bytes for progress in watch.seen) == 0


def test_a_damaged_file_is_fetched_anew(tmp_path: Path) -> None:
    into = tmp_path / "bundles"
    with serving(CONTENT, tmp_path) as server:
        path = fetch(server.address, into).path
        path.write_bytes(CONTENT[:-1] + b"?")
        assert fetch(server.address, into).is_new
        assert path.read_bytes() == CONTENT


def test_curve_keys_and_the_allow_list_hold_for_files_too(tmp_path: Path) -> None:
    pairs = {name: load_pair(generate_keys(tmp_path, name)[1]) for name in ("server", "device", "stranger")}
    allow = AllowList([pairs["device"].public])
    with serving(CONTENT, tmp_path, keys=pairs["server"], allow=allow) as server:
        keys = ClientKeys(pairs["device"], pairs["server"].public)
        assert fetch(server.address, tmp_path / "ours", keys=keys).path.read_bytes() == CONTENT
        watch = Watch()
        watch.began_s = time.monotonic()

        def until_refused(progress: FetchProgress) -> None:
            watch(progress)
            if progress.trouble is not None and "does not allow this device's key" in progress.trouble:
                raise StopError

        strange = ClientKeys(pairs["stranger"], pairs["server"].public)
        with pytest.raises(StopError):
            fetch(server.address, tmp_path / "theirs", until_refused, keys=strange)
        assert files(tmp_path / "theirs") == []
        assert server.counters().hellos == 1


def test_a_server_without_a_file_is_named_with_what_it_needs(tmp_path: Path) -> None:
    with serving(None, tmp_path) as server, pytest.raises(LinkError) as caught:
        fetch(server.address, tmp_path / "bundles")
    assert server.address in str(caught.value)
    assert "model.bundle: FILE" in str(caught.value)


def test_a_file_that_is_too_large_is_not_begun(tmp_path: Path) -> None:
    with serving(CONTENT, tmp_path) as server, pytest.raises(OverloadError, match=r"has 3 MB.*at most 1 MB"):
        fetch(server.address, tmp_path / "bundles", limits=FetchLimits(max_bytes=1_000_000))
    assert files(tmp_path / "bundles") == []


# With a complete file at hand


def test_a_server_that_is_away_leaves_the_newest_file(tmp_path: Path) -> None:
    into = tmp_path / "bundles"
    for number, seed in enumerate((5, 6)):
        with serving(noise(1000, seed), tmp_path) as server:
            os.utime(fetch(server.address, into).path, (number, number))
    began_s = time.monotonic()
    found = fetch("tcp://127.0.0.1:9", into)
    assert time.monotonic() - began_s < 1.0
    assert found.path.read_bytes() == noise(1000, 6)
    assert not found.is_new
    assert found.trouble is not None
    assert "nothing listens there" in found.trouble


def test_a_server_that_is_silent_leaves_it_after_a_moment(tmp_path: Path) -> None:
    into = tmp_path / "bundles"
    with serving(CONTENT, tmp_path) as server:
        fetch(server.address, into)
        relay = TcpRelay(server.address)
        relay.pause()
        found = fetch(relay.address, into, limits=FetchLimits(away_after_s=0.3))
        relay.close()
    assert found.path.read_bytes() == CONTENT
    assert found.trouble is not None


def test_a_server_that_goes_while_it_gives_away_another_leaves_it_too(tmp_path: Path) -> None:
    into = tmp_path / "bundles"
    with serving(b"the old network", tmp_path) as server:
        fetch(server.address, into)
    with serving(CONTENT, tmp_path) as server:
        relay = TcpRelay(server.address)
        found = fetch(relay.address, into, Watch(200 * KIB, relay.pause), limits=FetchLimits(lost_after_s=0.6))
        assert found.path.read_bytes() == b"the old network"
        assert found.trouble is not None
        relay.close()
        assert fetch(server.address, into).path.read_bytes() == CONTENT


def test_a_server_without_a_file_or_with_too_large_a_one_leaves_it_and_says_why(tmp_path: Path) -> None:
    into = tmp_path / "bundles"
    with serving(b"the old network", tmp_path) as server:
        fetch(server.address, into)
    with serving(None, tmp_path) as server:
        found = fetch(server.address, into)
    assert found.trouble is not None
    assert "no-bundle" in found.trouble
    with serving(CONTENT, tmp_path) as server:
        found = fetch(server.address, into, limits=FetchLimits(max_bytes=MIB))
    assert found.path.read_bytes() == b"the old network"


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    into = tmp_path / "bundles"
    for seed in range(4):
        with serving(noise(1000, seed), tmp_path) as server:
            fetch(server.address, into)
    assert files(into) == sorted(digest_name(noise(1000, seed)) for seed in (2, 3))


# The disk


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateError, match=f"{tmp_path}/file/bundles: Not a directory"):
        fetch("tcp://127.0.0.1:9", tmp_path / "file" / "bundles")


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    into = tmp_path / "bundles"
    into.mkdir()
    partial = into / f"{digest_name(CONTENT)}.partial"
    partial.symlink_to("/dev/full")
    real = os.statvfs
    with serving(CONTENT, tmp_path) as server:
        with monkeypatch.context() as patch:
            patch.setattr(os, "statvfs", lambda _path: real(tmp_path))
            with pytest.raises(StateError, match=f"{partial}: No space left on device"):
                fetch(server.address, into)
        partial.unlink()
        assert fetch(server.address, into).is_new  # the directory is not locked any more


def test_too_small_a_disk_is_noticed_before_anything_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = list(os.statvfs(tmp_path))
    small[4] = 10  # blocks left
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(small))
    with serving(CONTENT, tmp_path) as server, pytest.raises(StateError, match=r"needs 3.1 MB more, the disk has"):
        fetch(server.address, tmp_path / "bundles")


def test_two_processes_do_not_fetch_into_one_directory(tmp_path: Path) -> None:
    with BundleStore(tmp_path, lambda: None), pytest.raises(StateError, match="another process"):
        fetch("tcp://127.0.0.1:9", tmp_path)


@pytest.mark.parametrize("what", ["missing", "empty", "folder"])
def test_what_cannot_be_offered_is_noticed_at_the_start(tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    if what == "empty":
        path.write_bytes(b"")
    elif what == "folder":
        path.mkdir()
    with pytest.raises(ConfigError, match=f"model.bundle: .*{path}"):
        BundleOffer(path, model_digest=MODEL, name="net")


def test_a_name_for_people_is_made_one_that_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "net"
    path.write_bytes(b"x")
    offer = BundleOffer(path, model_digest=MODEL, name="a\nb" + "ä" * 60)
    assert offer.offer.name == "ab" + "ä" * 31
    offer.close()
