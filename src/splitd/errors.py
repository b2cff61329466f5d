"""Every error that splitd raises on purpose.

    SplitdError                     exit code 1
    ├── UsageError                  2   our caller misuses the API or the command line
    ├── ConfigError                 1   a configuration file; carries file, line and key
    ├── InputError                  1   an application's input: not an image, wrong shape, wrong dtype
    ├── ModelError                  1   a model cannot be loaded, exported or cut
    ├── ProfileError                1   a saved latency profile is damaged or foreign
    ├── StateError                  1   what is kept on disk cannot be kept or used
    ├── CodecError                  1   a tensor cannot be encoded, or its bytes cannot be decoded
    ├── PeerError                   1   the other end misbehaves
    │   ├── WireError               1   a frame that breaks the wire format
    │   └── RemoteError             1   a typed error that the other end reported; carries its code
    ├── LinkError                   1   link trouble: down, lost, refused
    ├── OverloadError               1   a configured limit is reached; try again later
    ├── DeadlineError               5   no answer in time
    └── DaemonUnreachableError      3   the local daemon does not answer on its socket

Anything else that escapes is a bug.
"""

from __future__ import annotations


class SplitdError(Exception):
    """Base of the tree; `code` is the stable name that crosses sockets, `exit_code` what a command exits with."""

    code = "error"
    exit_code = 1


class UsageError(SplitdError):
    """The API or the command line is used wrongly."""

    code = "usage"
    exit_code = 2


class ConfigError(SplitdError):
    """A configuration file is wrong; `problems` has one `file:line: key: what and how to mend it` per fault."""

    code = "config"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class InputError(SplitdError):
    """An application's input cannot be used: not an image, wrong shape, dtype or size."""

    code = "input"


class ModelError(SplitdError):
    """A model cannot be loaded, exported or cut."""

    code = "model"


class ProfileError(SplitdError):
    """A saved latency profile is damaged, truncated or belongs to something else."""

    code = "profile"


class StateError(SplitdError):
    """What is kept on disk: an estimator's state is damaged or foreign, or a bundle cannot be written or read.

    The message begins with the field, or with the path.
    """

    code = "state"


class CodecError(SplitdError):
    """A tensor cannot be encoded, or its bytes cannot be decoded."""

    code = "codec"


class PeerError(SplitdError):
    """The other end misbehaves."""

    code = "peer"


class WireError(PeerError):
    """A frame breaks the wire format."""

    code = "wire"


class RemoteError(PeerError):
    """The other end reported a typed error; `code` is its name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LinkError(SplitdError):
    """The link is down, was lost in mid-request, or the peer refuses us."""

    code = "link"


class OverloadError(SplitdError):
    """A configured limit is reached."""

    code = "overload"


class DeadlineError(SplitdError):
    """No answer in time."""

    code = "deadline"
    exit_code = 5


class DaemonUnreachableError(SplitdError):
    """The local daemon does not answer on its socket."""

    code = "unreachable"
    exit_code = 3
