"""Latency profiles as data: measurements, tables over the batch size, what they depend on, files, the cost model.

Nothing here runs a network, and nothing imports torch: whoever only plans or replays needs no more than this room.
"""

from splitd.calibration.profile import untrusted
from splitd.calibration.profile.cost_model import Floats, Terms, Work, end_to_end
from splitd.calibration.profile.key import MAX_CODECS, MAX_POSITIONS, ProfileKey, Role, changed_fields
from splitd.calibration.profile.latency import CodecCost, CrossingKey, LatencyProfile, profile_path
from splitd.calibration.profile.measurement import Measurement, measure, rounded
from splitd.calibration.profile.pair import ProfilePair, load_pair, pair_path
from splitd.calibration.profile.statefile import load_keyed, save_document
from splitd.calibration.profile.table import Row, Table
from splitd.calibration.profile.untrusted import MAX_TEXT

__all__ = [
    "MAX_CODECS",
    "MAX_POSITIONS",
    "MAX_TEXT",
    "CodecCost",
    "CrossingKey",
    "Floats",
    "LatencyProfile",
    "Measurement",
    "ProfileKey",
    "ProfilePair",
    "Role",
    "Row",
    "Table",
    "Terms",
    "Work",
    "changed_fields",
    "end_to_end",
    "load_keyed",
    "load_pair",
    "measure",
    "pair_path",
    "profile_path",
    "rounded",
    "save_document",
    "untrusted",
]
