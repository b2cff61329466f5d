"""Both ends' profiles in one file: what `splitd replay` needs, saved by the agent once it knows its server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from splitd.calibration.profile import untrusted
from splitd.calibration.profile.latency import LatencyProfile
from splitd.calibration.profile.statefile import load_document, save_document
from splitd.errors import ProfileError

_KIND = "profile pair"
_MOST_CUTS = 10_000


@dataclass(frozen=True)
class ProfilePair:
    """A device's profile and its server's, and the (position, codec) that the accuracy guard keeps out."""

    device: LatencyProfile
    server: LatencyProfile
    refused: frozenset[tuple[int, str]] = frozenset()

    def save(self, path: Path) -> None:
        """Write the pair; raises ProfileError if the directory cannot be written."""
        body = {
            "device": self.device.to_json(),
            "server": self.server.to_json(),
            "refused": [list(one) for one in sorted(self.refused)],
        }
        save_document(path, _KIND, body)


def pair_path(state_dir: Path, model_digest: str) -> Path:
    """Return where an agent keeps its own and its server's profile."""
    return state_dir / f"profile-pair-{model_digest[:16]}.json"


def load_pair(path: Path) -> ProfilePair:
    """Read a pair.

    Raises:
        ProfileError: There is no such file, or it is damaged or something else.
    """
    body = load_document(path, _KIND)
    if body is None:
        raise ProfileError(f"{path}: there is no such file; an agent saves its {_KIND} beside its own profile")
    listed = untrusted.items(untrusted.field(body, "refused", _KIND), "refused")
    refused = [untrusted.items(one, "refused", count=2) for one in listed]
    return ProfilePair(
        LatencyProfile.from_json(untrusted.field(body, "device", _KIND)),
        LatencyProfile.from_json(untrusted.field(body, "server", _KIND)),
        frozenset(
            (untrusted.whole(k, "refused", most=_MOST_CUTS), untrusted.text(codec, "refused")) for k, codec in refused
        ),
    )
