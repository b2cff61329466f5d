"""The study's fixed words: titles and figures that tables, pictures and text share, and the report's paragraphs.

Line breaks and indentation of the paragraphs carry no meaning.
"""

from __future__ import annotations

from splitd.calibration.study.gains import CandidateSet

PAPER_GAIN = (0.20, 0.30)  # mean gain over static splits and no offloading, arXiv 2205.11269

SET_TITLES = {
    CandidateSet.NO_FULL: "no full offloading (privacy mode)",
    CandidateSet.FULL_U8: "full offloading, 1 byte per value",
    CandidateSet.FULL_F32: "full offloading, float32",
}


def percent(share: float | None, digits: int = 1) -> str:
    """Return a fraction as a percentage, a dash for None."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


MODELS = """
    Blocks are the positions at which a model may be cut. c_l is the number of values that cross, over those of
    the input: a natural bottleneck has c_l < 1, a compressive one is smaller than all before it. A multiply-add
    counts as two operations (papers often print multiply-adds: half of these).
"""

GAINS = """
    Gain over a static policy: the mean over all states of (T_static - T_dynamic) / T_static, a mean of ratios.
    "A split wins" is the share of states in which some split is faster than every extreme that the set allows.
    The last column is what restricting the candidates costs: by how much the best of them is slower, on
    average, than the best of all blocks.
"""

REGRET = {
    "paper": """
        The theorem says that it costs nothing where the input may cross and both ends have one speed ratio. In
        privacy mode the first blocks, larger than the input, are good on fast links, and the paper's candidates
        leave them out.
    """,
    "splitd": "Under this cost every block that is the fastest somewhere is a candidate, so nothing is lost.",
}

EFFICIENCY = """
    Networks with depthwise convolutions reach 5 to 20 % of a GPU's peak. The more slowly both ends compute, the
    more the server's lead counts against the link, and the earlier the best cut. Here is the same study at
    other shares of peak, for both ends at once; the shares of the presets, used everywhere else, are printed at
    the top.
"""

EFFICIENCY_HERE = "Dotted lines: what one core of this machine reached on the checked models."

REALITY = """
    The share of the whole time that lies before each compressive cut: measured here on one core, one image at a
    time (the shortest time of each segment in several rounds), and by a roofline of this core. The core's figures
    were measured in the same rounds on single kernels (a matrix product, dense and depthwise convolutions,
    elementwise kernels, kernels on nothing) and fitted to nothing, so this checks the method, not a preset.
    Subnormal numbers, which random weights produce and trained ones hardly do, count as zero. Larger batches on a
    CPU depart further: tensors that no longer fit the caches, and memory that goes back to the system after each
    large tensor, make the first blocks slower.
"""

METHOD = (
    """
    The model is exported with torch.export and a symbolic batch size. Every operator of the graph that is not a
    view is one kernel with its operations (convolutions, matrix products, attention) and its memory traffic
    (inputs, outputs and weights, each once, float32).
    """,
    """
    Roofline: time of a kernel = max(operations / (peak x efficiency), bytes / bandwidth) + overhead; heads and
    tails are sums. It knows no caches, no fusion, no overlap and no occupancy: a small batch uses a GPU as well as
    a large one, so the best split depends on the batch size less than it does on a real one.
    """,
    """
    Not in the study: a loaded server, throttling, jitter and the error of a link estimate. The dynamic policy
    knows the state exactly, so its gains are upper bounds.
    """,
)

CANDIDATES = {
    "paper": "Candidates: the input (where allowed), the compressive bottlenecks, the output.",
    "splitd": """
        Candidates: the input (where allowed), the compressive bottlenecks, every other block that is the
        fastest somewhere, the output; each with the codec that is fastest in that state, for static policies
        too.
    """,
}

LATENCY = {
    "roofline": "Times are computed, not measured: a roofline over the exported graph, on named hardware.",
    "measured": "Times were measured on this machine; the device is emulated by idling.",
}

COST = {
    "paper": "the paper's equation, T = head + D / r + tail, with float32 cuts and no round trip.",
    "splitd": "splitd's own, with quantised and entropy-coded cuts, JPEG images, headers, round trip and result.",
}

CODECS = {
    "roofline": "Sizes and speeds of the codecs are assumptions, listed here.",
    "measured": "Sizes and speeds of the codecs were measured here on generated images.",
}

LOSSY = "Lossy codecs count as usable: what they do to the accuracy is not part of this study."

WIDTH = {
    "paper": """
        a float32 cut has four bytes per value, so only cuts with c_l < 1/4 send less than the image itself. The
        paper's gains are over no offloading and fixed splits, not over this.
    """,
    "splitd": """
        cuts are quantised too, but a JPEG at quality 90 has about 0.13 bytes per value of the image. An
        entropy-coded cut of 0.9 bytes per value sends less only with c_l < 0.14, and such cuts lie late,
        where the device has done most of the work.
    """,
}
