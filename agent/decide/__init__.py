"""Which cut and codec finish soonest, and what each batch teaches.

The Decider with the planner, the candidates, the objectives and the speed factors of both ends. It is given the time,
the link estimate, the server's load and the profiles as arguments: no socket, no thread, no clock.
"""

from splitd.agent.decide.candidates import Candidates
from splitd.agent.decide.cost_table import Floats
from splitd.agent.decide.costs import CHUNK_HEADER_BYTES, candidate_costs
from splitd.agent.decide.decider import Brain
from splitd.agent.decide.decision import CandidateCost, CandidateKey, Decision, ServerView, State
from splitd.agent.decide.patience import patience_s
from splitd.agent.decide.planner import Planner, PlannerConfig
from splitd.agent.decide.speed import SpeedFactor

__all__ = [
    "CHUNK_HEADER_BYTES",
    "Brain",
    "CandidateCost",
    "CandidateKey",
    "Candidates",
    "Decision",
    "Floats",
    "Planner",
    "PlannerConfig",
    "ServerView",
    "SpeedFactor",
    "State",
    "candidate_costs",
    "patience_s",
]
