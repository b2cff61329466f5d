"""A network namespace: sockets opened in it, programs run in it, all from one test process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

INTERFACE = "lab0"  # each end's interface of the link
CLONE_NEWNET = 0x40000000
CONGESTION_CONTROL = "cubic"  # what most machines use: a lab must not depend on the host's own setting


class Namespace:
    """A network namespace with one address; made by `namespace()`."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread, and the threads and processes it starts meanwhile, into the namespace.

        A socket belongs to the namespace in which it was made, so it works on after the block.
        """
        with Path("/proc/thread-self/ns/net").open("rb") as home:
            enter(self.name)
            try:
                yield
            finally:
                _setns(home.fileno())

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` in the namespace."""
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str) -> str:
        """Run a program in the namespace and give its output; a failure raises with what the program said."""
        done = subprocess.run(self.command(*argv), check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{self.name}: {argv} ended with {done.returncode}: {done.stderr}"
        return done.stdout


@contextlib.contextmanager
def namespace(label: str, address: str) -> Iterator[Namespace]:
    """Make a namespace with its loopback up, and remove it at the end with all that lives in it."""
    made = Namespace(f"splitd-{os.getpid()}-{label}", address)
    subprocess.run(["ip", "netns", "add", made.name], check=True)
    try:
        made.run("ip", "link", "set", "lo", "up")
        with _permitted_congestion_control():
            made.run("sysctl", "-qw", f"net.ipv4.tcp_congestion_control={CONGESTION_CONTROL}")
        made.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")  # no chatter of its own on the link
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", made.name], check=True)


@contextlib.contextmanager
def _permitted_congestion_control() -> Iterator[None]:
    """A namespace may only choose what the host permits its unprivileged users, so the host permits it meanwhile."""
    permitted = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
    before = permitted.read_text()
    permitted.write_text(f"{before.strip()} {CONGESTION_CONTROL}")
    try:
        yield
    finally:
        permitted.write_text(before)


def enter(name: str) -> None:
    """Move the calling thread into the named namespace."""
    with Path(f"/run/netns/{name}").open("rb") as there:
        _setns(there.fileno())


def _setns(descriptor: int) -> None:
    # os.setns came with Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
