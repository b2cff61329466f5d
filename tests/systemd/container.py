"""A real systemd, booted in a container over this machine's own root file system.

The container sees `/` through an overlay whose upper layer is a tmpfs, so it may install and change what it likes and
leaves nothing behind. It needs neither machined nor D-Bus on the host, and no systemd as the host's PID 1: commands
enter the namespaces of the container's init with `nsenter`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

BOOT_DEADLINE_S = 90.0
STOP_DEADLINE_S = 30.0
BOOTED = {"running", "degraded"}  # degraded: a unit of the host's own (a getty, a mount) has no place in a container


class Container:
    """A booted container: `run` commands in it, reach its files below `root`."""

    def __init__(self, root: Path, init_pid: int) -> None:
        self.root = root
        self._init_pid = init_pid

    def run(
        self, *command: str, user: str = "root", check: bool = True, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` as `user` (with that user's groups); a failure raises with both its streams."""
        argv = [*self._enter(), "runuser", "-u", user, "--", *command]
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
            env=ENVIRONMENT,
        )
        if check and done.returncode:
            message = f"{shlex.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
            raise AssertionError(message)
        return done

    def property(self, unit: str, name: str) -> str:
        """One property of a unit, as `systemctl show` prints it."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).stdout.strip()

    def wait_for(self, unit: str, deadline_s: float, **properties: str) -> None:
        """Wait until the unit shows all these properties; raises with its status and its journal when it does not."""
        end = time.monotonic() + deadline_s
        while (seen := {name: self.property(unit, name) for name in properties}) != properties:
            if time.monotonic() > end:
                raise AssertionError(f"{unit}: {seen} instead of {properties}\n{self.journal(unit)}")
            time.sleep(0.2)

    def journal(self, unit: str) -> str:
        """What systemd and the unit (or pattern of units) wrote to the journal since boot, maybe nothing."""
        return self.run("journalctl", "--no-pager", "--output=short-monotonic", "--unit", unit, check=False).stdout

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self._init_pid), "--mount", "--uts", "--ipc", "--net", "--pid"]


ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@contextlib.contextmanager
def booted(bind_read_only: Mapping[Path, Path]) -> Iterator[Container]:
    """Boot to basic.target (none of the host's services), give the container, and power it off.

    `bind_read_only` maps paths of this machine (other file systems are not part of the overlay) to places in the
    container. The container has a network of its own with nothing but a loopback in it.
    """
    with _overlay_of_root() as root:
        log_path = root.parent / "console.log"
        with log_path.open("wb") as log, _nspawn(root, bind_read_only, log.fileno()) as supervisor:
            container = Container(root, _init_pid(supervisor, log_path))
            _wait_until_booted(container, log_path)
            yield container
            container.run("systemctl", "poweroff", check=False)
            supervisor.wait(STOP_DEADLINE_S)


@contextlib.contextmanager
def _overlay_of_root() -> Iterator[Path]:
    # Never removed with what is in it: below it lies, mounted, the whole machine.
    base = Path(tempfile.mkdtemp(prefix="splitd-container-"))
    upper, work, root = (base / name for name in ("upper", "work", "root"))
    try:
        # A tmpfs of its own, because an overlay's upper layer must not itself lie in the layer below it.
        with _mounted(base, "-t", "tmpfs", "-o", "size=2G", "tmpfs"):
            for folder in (upper, work, root):
                folder.mkdir()
            layers = f"lowerdir=/,upperdir={upper},workdir={work}"
            with _mounted(root, "-t", "overlay", "-o", layers, "overlay"):
                yield root
    finally:
        base.rmdir()


@contextlib.contextmanager
def _mounted(place: Path, *what: str) -> Iterator[None]:
    subprocess.run(["mount", *what, str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextlib.contextmanager
def _nspawn(root: Path, bind_read_only: Mapping[Path, Path], log: int) -> Iterator[subprocess.Popen[bytes]]:
    binds = [f"--bind-ro={source}:{place}" for source, place in bind_read_only.items()]
    # --register=no, --keep-unit: no machined, and maybe no systemd outside. --link-journal=no: same machine id.
    options = ["--register=no", "--keep-unit", "--link-journal=no", "--private-network", "--resolv-conf=off"]
    argv = ["systemd-nspawn", f"--directory={root}", f"--machine=splitd-{os.getpid()}", "--console=pipe", *options]
    argv += ["--timezone=off", *binds, "--boot", "systemd.unit=basic.target"]
    supervisor = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield supervisor
    finally:
        supervisor.terminate()
        try:
            supervisor.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()


def _init_pid(supervisor: subprocess.Popen[bytes], log: Path) -> int:
    """The host's number of the container's PID 1: the supervisor's child once that runs systemd."""
    end = time.monotonic() + BOOT_DEADLINE_S
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children")
    while time.monotonic() < end and supervisor.poll() is None:
        with contextlib.suppress(OSError):  # the supervisor has failed, or its child that only sets up is gone
            for pid in children.read_text().split():
                if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                    return int(pid)
        time.sleep(0.05)
    raise AssertionError(f"the container did not start:\n{log.read_text(errors='replace')}")


def _wait_until_booted(container: Container, log: Path) -> None:
    end = time.monotonic() + BOOT_DEADLINE_S
    state = ""
    while state not in BOOTED:
        if time.monotonic() > end:
            raise AssertionError(f"systemd is {state or 'silent'}:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)
        state = container.run("systemctl", "is-system-running", check=False).stdout.strip()
