"""Unix socket files: claim one for a daemon, share it with a group, and tell why one cannot be reached."""

from __future__ import annotations

import contextlib
import grp
import os
import socket
from pathlib import Path

from splitd.errors import ConfigError, DaemonUnreachableError

MAX_PATH_BYTES = 107  # sockaddr_un.sun_path, less its terminating zero
SOCKET_MODE = 0o660


def claim_socket(path: Path) -> None:
    """Make `path` free for a new socket: remove a stale one, refuse one on which a daemon answers.

    Raises:
        ConfigError: The path is too long, taken by a live daemon or by another kind of file, or its folder is missing.
    """
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise ConfigError([f"{path}: a socket path has at most {MAX_PATH_BYTES} bytes; choose a shorter one"])
    if not path.parent.is_dir():
        raise ConfigError([f"{path}: the folder {path.parent} does not exist; create it, or change the socket's path"])
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError([f"{path}: no permission to create a socket in {path.parent}"])
    if not path.exists():
        return
    if not path.is_socket():
        raise ConfigError([f"{path}: exists and is not a socket; move it away, or change the socket's path"])
    if _connect_error(path) is None:
        raise ConfigError([f"{path}: another daemon is serving this socket; stop it, or change the socket's path"])
    path.unlink()


def share_socket(path: Path, group: str | None) -> None:
    """Set mode 0660 on a bound socket, and its group if one is given.

    Raises:
        ConfigError: There is no such group, or the daemon may not give the file to it.
    """
    path.chmod(SOCKET_MODE)
    if group is None:
        return
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except KeyError:
        raise ConfigError([f"{path}: there is no group {group!r}; create it, or change `group:`"]) from None
    except PermissionError:
        raise ConfigError([f"{path}: the daemon is not a member of group {group!r}, so cannot share with it"]) from None


def release_socket(path: Path) -> None:
    """Remove a socket file at shutdown; one that is already gone is fine."""
    with contextlib.suppress(OSError):
        path.unlink()


def check_reachable(path: Path) -> None:
    """Return if a daemon answers on `path`.

    Raises:
        DaemonUnreachableError: With the reason (not running, no permission, stale) and the way out.
    """
    error = _connect_error(path)
    if error is None:
        return
    if isinstance(error, FileNotFoundError):
        raise DaemonUnreachableError(f"{path}: no such socket; is the daemon running? (systemctl status splitd-agent)")
    if isinstance(error, PermissionError):
        raise DaemonUnreachableError(
            f"{path}: permission denied; ask to be added to the socket's group (`ls -l {path}`)"
        )
    raise DaemonUnreachableError(f"{path}: nobody answers ({error.strerror}); is the daemon running?")


def _connect_error(path: Path) -> OSError | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error
    return None
