"""A link and two processors on a simulated clock, to drive the daemon's own estimator and Decider through a trace.

Everything that it prints is modelled, and says so.
"""

from splitd.agent.simulation.link import LinkShape
from splitd.agent.simulation.recording import PlayedDecision, play_recording
from splitd.agent.simulation.replay import Setting, open_pair, play, policy_names
from splitd.agent.simulation.summary import Figures, document, summarise
from splitd.agent.simulation.traces import BUILT_IN, LoadTrace, Trace, load_load_trace, load_trace, open_trace, steps

__all__ = [
    "BUILT_IN",
    "Figures",
    "LinkShape",
    "LoadTrace",
    "PlayedDecision",
    "Setting",
    "Trace",
    "document",
    "load_load_trace",
    "load_trace",
    "open_pair",
    "open_trace",
    "play",
    "play_recording",
    "policy_names",
    "steps",
    "summarise",
]
