"""Why a network cannot be exported, in one line: torch.export answers with pages of a graph."""

from __future__ import annotations

import re

MOST_CHARACTERS = 200

# What torch.export says when, and what that means for whoever wrote the network.
_KNOWN = (
    (
        r"data-dependent|unbacked|GuardOnDataDependent|Dynamic control flow",
        "what it computes depends on the input's values (an `if`, a loop or an index on a tensor's content)",
    ),
    (
        r"Constraints violated|specialized|marked.* as dynamic|Expected .* to be equal to|Eq\(.*batch",
        "it works for one batch size only (a fixed number in reshape or view?)",
    ),
    (r"dynamo|torch\.compile|fullgraph", "it contains code that torch.export cannot follow"),
)


def cause(error: BaseException) -> str:
    """Return the reason in one line: what is known of this kind of failure, then the first line of the error."""
    text = str(error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    shown = first if len(first) <= MOST_CHARACTERS else f"{first[:MOST_CHARACTERS]}…"
    known = next((meaning for pattern, meaning in _KNOWN if re.search(pattern, f"{type(error).__name__} {text}")), None)
    parts = [part for part in (known, shown) if part]
    return ": ".join(parts) or type(error).__name__
