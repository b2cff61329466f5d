"""Every limit of the link, with the attack or the measurement that set it."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

PROTOCOL_VERSION = 1  # raised by every change that an older peer would misread

# A header is at most its fixed part, eight dimensions and two short texts; more is an attack on the parser.
MAX_HEADER_BYTES = 2 * KIB
# Reasons of refusals and errors are for people: a screenful. They also end up in logs, which a peer must not fill.
MAX_TEXT_BYTES = 1 * KIB
# Host names have at most 64 bytes on Linux, codes and versions fewer.
MAX_NAME_BYTES = 64

# Chunks aim at 64 KiB; one JPEG or one float32 piece of a plane may be larger, and nothing else may.
MAX_CHUNK_BYTES = 1 * MIB
# A calibrated profile of 128 cuts, 8 batch sizes and 10 codecs is about 1 MB of JSON.
MAX_WELCOME_BYTES = 4 * MIB
# What a tensor may decode to: stops a tiny payload that declares a huge shape before anything is allocated.
MAX_TENSOR_BYTES = 256 * MIB
# The weights of the largest networks that split computing is used for take 1.3 GB; an offset beyond this is an attack.
MAX_FILE_BYTES = 64 * GIB
# One part of a file: as a chunk, so that pings and other devices' answers never wait behind more than that.
FILE_PART_BYTES = 64 * KIB
MAX_DIMS = 8  # with the batch; bounds the header
# An op-level cut inside a dense block has several dozen live tensors.
MAX_TENSORS = 128
# 256 MiB in chunks of 64 KiB are 4096; twice that leaves room for the short last chunk of each tensor and plane. Bounds
# what a peer can make this end keep in lists: a chunk may be empty.
MAX_CHUNKS_PER_REQUEST = 8192
MAX_ARRIVALS = MAX_CHUNKS_PER_REQUEST + 1  # one a chunk, and one for a report
MAX_CUT = 0xFFFF  # the field has 16 bits; the largest networks have some hundred cuts
# An hour: a longer relative deadline is a wrong unit or an attempt to park memory at the other end.
MAX_DEADLINE_MS = 3_600_000
NO_DEADLINE_MS = 0xFFFFFFFF  # in the place of a deadline: there is none
# What one received chunk costs in Python objects beside its payload (measured: 0.9 KB); counted so that a flood of
# empty chunks cannot hide from the byte limits.
CHUNK_OVERHEAD_BYTES = 1 * KIB

HANDSHAKE_TIMEOUT_S = 3.0  # half a handshake would hold a descriptor for libzmq's default of 30 s
# Messages queued in libzmq per peer and direction. The byte credits bound memory; this only bounds their number.
HIGH_WATER_MARK = 1024


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How patient and how greedy a device is towards one server; times in seconds, sizes in bytes."""

    # Unacknowledged payload on the way to the server, at most; it bounds what a stopped server can make this end hold.
    # Four times what the fastest link of the lab's figures keeps under way (50 MB/s, 20 ms).
    window_bytes: int = 4 * MIB
    # Four acknowledgements' worth (ack_every_bytes) on the slowest links too: with less, chunks would wait for each.
    min_window_bytes: int = 512 * KIB
    first_window_bytes: int = 1 * MIB  # while the rate is unknown: what 50 MB/s at 20 ms keep under way
    # On a slow link the window shrinks to this much time, or pings and cancellations would sit behind seconds of data.
    window_s: float = 0.5
    ack_every_bytes: int = 128 * KIB  # two chunks: an acknowledgement of 0.1 KB for each costs nothing that shows
    max_result_bytes: int = 64 * MIB  # a server that never ends an answer must not fill this end's memory
    max_open_requests: int = 8  # the pipeline has one; more are left for callers of the library
    # What keeps the round trip fresh and notices a silent server; 0.1 KB a second in either direction.
    ping_interval_s: float = 1.0
    # Two pongs missed, then four: one lost packet on Wi-Fi is repaired by TCP within a second.
    suspect_after_s: float = 2.5
    down_after_s: float = 5.0
    # The slowest link on which a transfer still counts as alive: an acknowledgement may take ack_every_bytes at this
    # rate longer than the silence above.
    min_rate_bytes_per_s: float = 64 * KIB
    # The WELCOME is one message of up to 4 MiB: on a slow link it takes a while, and nothing is heard meanwhile.
    hello_timeout_s: float = 20.0
    # A refusal is mended by people (another model, a key on the list): five seconds do not keep them waiting, and a
    # hundred refused devices cost the server twenty messages a second.
    refused_retry_s: float = 5.0
    connect_timeout_s: float = 3.0  # a lost SYN is sent again after 1 s and after 3 s (RFC 6298): one may get lost
    # A server that restarts is found again within the first of these; one that is away gets a SYN every second one.
    reconnect_s: float = 0.2
    reconnect_max_s: float = 2.0


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """What a server grants each device and all of them together; times in seconds, sizes in bytes."""

    max_clients: int = 64  # each may hold its share of max_pending_bytes, 8 MiB, whatever the others do
    max_connections: int = 256  # with and without a HELLO; at the descriptor limit libzmq would spin
    max_unfinished_bytes: int = 16 * MIB  # of one message over one connection; socket buffers count (6 MiB)
    max_open_requests_per_client: int = 8  # as many as a device may have under way
    # A batch of 100 raw images of 380 x 380 are 43 MB; one device alone cannot take what all share.
    max_pending_bytes_per_client: int = 64 * MIB
    max_pending_bytes: int = 512 * MIB  # chosen, not measured: what a server of 2 GB can spare
    max_reply_bytes: int = 64 * MIB  # also what may wait for a device that does not read: then it is dropped
    window_bytes: int = 4 * MIB  # as at the device: what a stopped one can make this end hold in its socket
    ack_every_bytes: int = 128 * KIB
    transfer_idle_s: float = 10.0  # an unfinished transfer without a new chunk for this long is dropped
    # A device that reconnects leaves its old record behind; at the limit of clients one so long silent makes room.
    client_silent_s: float = 5.0
    # Parts of a file that one device has not acknowledged: what 50 MB/s at 20 ms keep under way. A device that does not
    # read makes the server hold that much and no more.
    file_window_bytes: int = 1 * MIB
    client_idle_s: float = 30.0  # devices ping every second: this long a silence is a device that has gone
    # The prober sends eight. The server keeps an arrival of each until the last one, so that their number is bounded.
    max_probe_messages: int = 4096
