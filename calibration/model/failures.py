"""Why a network cannot be exported, in one line: torch.export answers with pages of a graph."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

log = logging.getLogger(__name__)

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
    (
        r"__obj_flatten__|ScriptObject|PackedParams|aten\.dequantize|quantize_per_tensor",
        "torch.export cannot see torch.ao's quantised tensors; quantise it with torchao's pt2e and give the .pt2",
    ),
    (r"dynamo|torch\.compile|fullgraph", "it contains code that torch.export cannot follow"),
)


def explained(error: BaseException | None) -> str | None:
    """Return what this kind of failure means for whoever wrote the network, None where that is not known."""
    text = f"{type(error).__name__} {error}"
    return next((meaning for pattern, meaning in _KNOWN if re.search(pattern, text)), None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch.export's own prints and warnings, pages of a graph, out of the daemon's log but at level debug."""
    logger, printed = logging.getLogger("torch"), io.StringIO()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            yield
    finally:
        logger.setLevel(level)
        if printed.getvalue():
            log.debug("torch.export printed:\n%s", printed.getvalue())


def cause(error: BaseException) -> str:
    """Return the reason in one line: what is known of this kind of failure, then the first line of the error."""
    text = str(error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    shown = first if len(first) <= MOST_CHARACTERS else f"{first[:MOST_CHARACTERS]}…"
    parts = [part for part in (explained(error), shown) if part]
    return ": ".join(parts) or type(error).__name__
