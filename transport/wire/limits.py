"""Every limit of the link, with the attack or the measurement that set it."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB

PROTOCOL_VERSION = 1

# A header is at most its fixed part, eight dimensions and two short texts; more is an attack on the parser.
MAX_HEADER_BYTES = 2 * KIB
MAX_TEXT_BYTES = 1 * KIB
MAX_NAME_BYTES = 64

# Chunks aim at 64 KiB; one JPEG or one float32 piece of a plane may be larger, and nothing else may.
MAX_CHUNK_BYTES = 1 * MIB
# A calibrated profile of 128 cuts, 8 batch sizes and 10 codecs is about 1 MB of JSON.
MAX_WELCOME_BYTES = 4 * MIB
# What a tensor may decode to: stops a tiny payload that declares a huge shape before anything is allocated.
MAX_TENSOR_BYTES = 256 * MIB
MAX_DIMS = 8
# An op-level cut inside a dense block has several dozen live tensors.
MAX_TENSORS = 128
MAX_CHUNKS_PER_REQUEST = 8192
MAX_ARRIVALS = MAX_CHUNKS_PER_REQUEST + 1
MAX_CUT = 0xFFFF
# An hour: a longer relative deadline is a wrong unit or an attempt to park memory at the other end.
MAX_DEADLINE_MS = 3_600_000
NO_DEADLINE_MS = 0xFFFFFFFF
# What one received chunk costs in Python objects beside its payload (measured: 0.9 KB); counted so that a flood of
# empty chunks cannot hide from the byte limits.
CHUNK_OVERHEAD_BYTES = 1 * KIB

HANDSHAKE_TIMEOUT_S = 3.0  # half a handshake would hold a descriptor for libzmq's default of 30 s
# Messages queued in libzmq per peer and direction. The byte credits bound memory; this only bounds their number.
HIGH_WATER_MARK = 1024


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How patient and how greedy a device is towards one server; times in seconds, sizes in bytes."""

    window_bytes: int = 4 * MIB  # unacknowledged payload on the way to the server, at most
    min_window_bytes: int = 512 * KIB
    first_window_bytes: int = 1 * MIB  # while the rate is unknown; 50 MB/s at 20 ms
    # On a slow link the window shrinks to this much time, or pings and cancellations would sit behind seconds of data.
    window_s: float = 0.5
    ack_every_bytes: int = 128 * KIB
    max_result_bytes: int = 64 * MIB
    max_open_requests: int = 8
    ping_interval_s: float = 1.0
    # Two pongs missed, then four: one lost packet on Wi-Fi is repaired by TCP within a second.
    suspect_after_s: float = 2.5
    down_after_s: float = 5.0
    # The slowest link on which a transfer still counts as alive: an acknowledgement may take ack_every_bytes at this
    # rate longer than the silence above.
    min_rate_bytes_per_s: float = 64 * KIB
    # The WELCOME is one message of up to 4 MiB: on a slow link it takes a while, and nothing is heard meanwhile.
    hello_timeout_s: float = 20.0
    refused_retry_s: float = 5.0
    connect_timeout_s: float = 3.0
    reconnect_s: float = 0.2
    reconnect_max_s: float = 2.0


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """What a server grants each device and all of them together; times in seconds, sizes in bytes."""

    max_clients: int = 64
    max_connections: int = 256  # with and without a HELLO; at the descriptor limit libzmq would spin
    max_unfinished_bytes: int = 16 * MIB  # of one message over one connection; socket buffers count (6 MiB)
    max_open_requests_per_client: int = 8
    max_pending_bytes_per_client: int = 64 * MIB
    max_pending_bytes: int = 512 * MIB
    max_reply_bytes: int = 64 * MIB
    window_bytes: int = 4 * MIB
    ack_every_bytes: int = 128 * KIB
    transfer_idle_s: float = 10.0  # an unfinished transfer without a new chunk for this long is dropped
    # A device that reconnects leaves its old record behind; at the limit of clients one so long silent makes room.
    client_silent_s: float = 5.0
    client_idle_s: float = 30.0  # devices ping every second: this long a silence is a device that has gone
    max_probe_messages: int = 4096
