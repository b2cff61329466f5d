"""Which cut and codec finish soonest, and what each batch teaches.

The Decider with the planner, the candidates, the objectives and the speed factors of both ends. It is given the time,
the link estimate, the server's load and the profiles as arguments: no socket, no thread, no clock.
"""

from splitd.agent.decide.candidates import Wanted, answer_bytes, candidate_costs
from splitd.agent.decide.cost_table import undominated
from splitd.agent.decide.decider import Decider, DeciderConfig, Pin
from splitd.agent.decide.decision import CandidateCost, CandidateKey, Decision, Scored
from splitd.agent.decide.learning import Done, Learned, Lesson, Remote
from splitd.agent.decide.objective import DEFAULT_OBJECTIVE, OBJECTIVES
from splitd.agent.decide.planner import PlannerConfig
from splitd.agent.decide.speed import SpeedFactor
from splitd.agent.decide.surroundings import ReportedQueue, Surroundings, see

__all__ = [
    "DEFAULT_OBJECTIVE",
    "OBJECTIVES",
    "CandidateCost",
    "CandidateKey",
    "Decider",
    "DeciderConfig",
    "Decision",
    "Done",
    "Learned",
    "Lesson",
    "Pin",
    "PlannerConfig",
    "Remote",
    "ReportedQueue",
    "Scored",
    "SpeedFactor",
    "Surroundings",
    "Wanted",
    "answer_bytes",
    "candidate_costs",
    "see",
    "undominated",
]
