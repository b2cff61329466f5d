"""The device's daemon: from the applications' requests to their answers.

Intake and batching, the pipeline that takes a batch through decision, head, link and local finish, and what the control
socket shows of it. What to choose is the business of `decide`, how bytes cross that of `transport.device`.
"""

from splitd.agent.device.bundle_source import client_keys, with_network
from splitd.agent.device.daemon import AgentDaemon
from splitd.agent.device.inputs import Inputs
from splitd.agent.device.offload import Outcome

__all__ = ["AgentDaemon", "Inputs", "Outcome", "client_keys", "with_network"]
