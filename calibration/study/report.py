"""The HTML report: what was asked, what came out, how it was computed, where it fails, and all pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from splitd.calibration.study import prose
from splitd.calibration.study.codecs import AssumedCodec, load_assumptions
from splitd.calibration.study.document import Study, describe_hardware, means
from splitd.calibration.study.findings import against_the_paper, where_it_does_not_pay
from splitd.calibration.study.gains import CandidateSet, Gains
from splitd.calibration.study.grid import MEGABYTE
from splitd.calibration.study.html import bullets, heading, page, paragraph, picture, subheading, table
from splitd.calibration.study.prose import SET_TITLES, percent
from splitd.calibration.study.reality import TOLERANCE
from splitd.calibration.study.tables import csv_tables
from splitd.errors import SplitdError, UsageError
from splitd.native.plan import DEFAULT_TARGET_BYTES, MAX_CHUNK_ELEMENTS, PLANE_WORD_BYTES, header_bytes

REPORT_FILE = "report.html"
GAIN_HEADER = ("optimal splits", "a split wins", "vs none", "vs full", "vs best fixed", "vs mean fixed")


def write_report(study: Study, folder: Path) -> None:
    """Write report.html (self-contained), the PNG files it shows, and CSV tables; existing files are replaced.

    Raises:
        UsageError: matplotlib is not installed.
        SplitdError: the folder cannot be written.
    """
    try:
        from splitd.calibration.study.plots import draw_study  # noqa: PLC0415 - matplotlib is the extra `report`
    except ModuleNotFoundError as error:
        raise UsageError(
            "--out draws pictures with matplotlib; install it with: pip install 'splitd[report]'"
        ) from error
    pictures = draw_study(study)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, png in pictures.items():
            (folder / f"{name}.png").write_bytes(png)
        for name, text in csv_tables(study).items():
            (folder / f"{name}.csv").write_text(text, encoding="utf-8")
        (folder / REPORT_FILE).write_text(render_report(study, pictures), encoding="utf-8")
    except OSError as error:
        raise SplitdError(f"{folder}: the report cannot be written: {error.strerror or error}") from error


def render_report(study: Study, pictures: Mapping[str, bytes]) -> str:
    """Return the report as one HTML document; `pictures` are PNG files by name, as `plots.draw_study` returns them."""
    return page(
        "Where to split: a study of dynamic split computing",
        [
            *_question(study),
            *_answer(study, pictures),
            *_failures(study),
            *_models(study),
            *_gains(study),
            *_efficiency(study, pictures),
            *_reality(study, pictures),
            *_method(study),
            *_pictures(study, pictures),
        ],
    )


def _question(study: Study) -> list[str]:
    settings = study.settings
    rates, batches = settings.grid.rates_bytes_per_s / MEGABYTE, settings.grid.batches
    question = f"""
        A network runs on a device up to a split and on a server after it. The best split moves with the batch
        size and the data rate. This report finds it for {len(study.results)} models in each of {len(batches)}
        x {len(rates)} states, batch sizes {batches[0]} to {batches[-1]} and rates {rates[0]:g} to
        {rates[-1]:g} MB/s, and says what choosing it gains over never changing it.
    """
    return [
        paragraph(question),
        bullets(
            [
                f"Latency: {settings.latency}. {prose.LATENCY[settings.latency]}",
                f"Cost: {settings.cost}. This is {prose.COST[settings.cost]}",
                f"Device: {study.device}.",
                f"Server: {study.server}.",
            ]
        ),
    ]


def _answer(study: Study, pictures: Mapping[str, bytes]) -> list[str]:
    return [
        heading("The gains, next to the paper's"),
        bullets(against_the_paper(study)),
        picture(pictures["overview"], "Who is the fastest, as a share of the states."),
    ]


def _failures(study: Study) -> list[str]:
    parts = [heading("Where splitting does not pay")]
    for candidates in study.settings.candidates:
        parts += [subheading(SET_TITLES[candidates]), bullets(where_it_does_not_pay(study, candidates))]
    return parts


def _models(study: Study) -> list[str]:
    header = ("model", "image", "parameters", "GFLOPs", "blocks", "natural", "compressive", "c_l of the compressive")
    rows = [
        (
            facts.model,
            str(facts.image_shape[1]),
            f"{facts.parameters / 1e6:.2f} M",
            f"{facts.flops / 1e9:.2f}",
            str(len(facts.cuts)),
            str(facts.natural),
            str(len(facts.compressive)),
            ", ".join(f"{cut.name} {cut.ratio:.3f}" for cut in facts.compressive),
        )
        for facts in (result.facts for result in study.results)
    ]
    return [
        heading("The models"),
        paragraph(prose.MODELS),
        table("Sizes per image", header, rows),
    ]


def _gains(study: Study) -> list[str]:
    mean = means(study.results)
    parts = [
        heading("Gains per model"),
        paragraph(prose.GAINS + prose.REGRET[study.settings.cost]),
    ]
    for candidates in study.settings.candidates:
        rows = [
            (
                result.facts.model,
                *_cells(result.sets[candidates].gains),
                result.sets[candidates].gains.best_static or "-",
                percent(result.sets[candidates].regret),
            )
            for result in study.results
        ]
        rows.append(("mean", *_cells(mean[candidates]), "", ""))
        header = ("model", *GAIN_HEADER, "best fixed", "lost to all blocks")
        parts.append(table(f"Candidates: {SET_TITLES[candidates]}", header, rows, mean_row=True))
    return parts


def _cells(gains: Gains) -> tuple[str, ...]:
    shares = (
        gains.split_share,
        gains.gain_vs_none,
        gains.gain_vs_full,
        gains.gain_vs_best_static,
        gains.gain_vs_mean_static,
    )
    return (f"{gains.optimal_splits:.3g}", *(percent(share) for share in shares))


def _efficiency(study: Study, pictures: Mapping[str, bytes]) -> list[str]:
    if "sweep" not in pictures:
        return []
    return [
        heading("What the answer depends on: how much of its peak a processor reaches"),
        paragraph(prose.EFFICIENCY + (prose.EFFICIENCY_HERE if study.checks else "")),
        picture(pictures["sweep"], "Mean gains over the models by share of peak reached."),
    ]


def _reality(study: Study, pictures: Mapping[str, bytes]) -> list[str]:
    if not study.checks:
        return []
    header = ("model", "cut", "measured", "roofline", "difference")
    rows = [
        (check.model, cut, percent(measured), percent(roofline), f"{100 * (roofline - measured):+.1f}")
        for check in study.checks
        for cut, measured, roofline in zip(check.cuts, check.measured, check.roofline, strict=True)
    ]
    verdicts = [
        f"{check.model}: {1e3 * check.total_s:.1f} ms, {percent(check.efficiency, 0)} of the measured peak; largest "
        f"difference {100 * check.largest_difference:.1f} points, {'within' if check.agrees else 'OUTSIDE'} "
        f"{100 * TOLERANCE:.0f}"
        for check in study.checks
    ]
    core = study.checks[0].core
    figures = (
        f"{describe_hardware(core)}; {percent(core.depthwise_efficiency, 0)} of the peak in depthwise convolutions"
    )
    return [
        heading("The roofline against this machine"),
        paragraph(prose.REALITY),
        bullets([figures, *verdicts]),
        table("Share of the head", header, rows),
        picture(pictures["shares"], "Measured against computed."),
    ]


def _method(study: Study) -> list[str]:
    cost = study.settings.cost
    steps = [*prose.METHOD, prose.CANDIDATES[cost]]
    return [heading("How it was computed"), bullets(steps), *(_assumptions(study) if cost == "splitd" else [])]


def _assumptions(study: Study) -> list[str]:
    assumed = load_assumptions()
    link = f"""
        Link: {1e3 * assumed.rtt_s:g} ms round trip; a header of {header_bytes(4)} bytes for each chunk of at most
        {DEFAULT_TARGET_BYTES} bytes or {MAX_CHUNK_ELEMENTS} values, and {PLANE_WORD_BYTES} bytes for each plane of a
        quantised tensor. {prose.CODECS[study.settings.latency]} {prose.LOSSY}
    """
    parts = [paragraph(link)]
    if study.settings.latency == "roofline":
        header = ("codec", "bytes per value", "bytes per image", "encode (M values/s)", "decode (M values/s)")
        codecs = [("cut", codec) for codec in assumed.cut_codecs] + [("image", codec) for codec in assumed.input_codecs]
        rows = [(f"{where}: {codec.label}", *_codec_cells(codec)) for where, codec in codecs]
        parts.append(table("Assumed codecs", header, rows))
    return parts


def _codec_cells(codec: AssumedCodec) -> tuple[str, ...]:
    speeds = (f"{speed / 1e6:g}" for speed in (codec.encode_values_per_s, codec.decode_values_per_s))
    return (f"{codec.bytes_per_value:g}", f"{codec.bytes_per_image:g}", *speeds)


def _pictures(study: Study, pictures: Mapping[str, bytes]) -> list[str]:
    first: CandidateSet = study.settings.candidates[0]
    caption = f"""Above: the fastest position in every state, one colour per position. Below, for the candidates
        "{SET_TITLES[first]}": gain over no offloading and over the best fixed split, and time over the data rate."""
    models = [name for name in pictures if name.startswith("model-")]
    return [
        heading("Every model"),
        *(picture(pictures[name], f"{name.removeprefix('model-')}. {caption}") for name in models),
    ]
