"""What a configuration says about the engine, about calibration and about accuracy."""

from __future__ import annotations

from splitd.agent.configuration import AgentConfig, PreprocessingSection, ServerConfig
from splitd.calibration.accuracy import AccuracySettings
from splitd.calibration.bundle import open_bundle, prove_runner
from splitd.calibration.executors import SegmentSource
from splitd.calibration.images import PreprocessingChoice
from splitd.calibration.measure import CalibrationSettings, Selection, SelectionSettings
from splitd.native.spec import RAW


def open_selection(config: AgentConfig | ServerConfig, *, fresh: bool = False) -> Selection:
    """Return the configured network on the configured device, proved to be divisible, and what may run it.

    torch and timm are loaded only where the configuration names a model: a device that runs from a bundle has neither.
    `fresh` forgets what the last start found out of the executors.

    Raises:
        ModelError: The network cannot be loaded, cut or run.
        ConfigError: There is no such device, or no such executor here.
    """
    if config.model.bundle is None:
        return Selection(_open_model(config), selection_settings(config), fresh=fresh)
    bundle = open_bundle(config.model.bundle)
    selection = Selection(bundle, selection_settings(config), fresh=fresh)
    prove_runner(bundle, selection.engine.runner)
    return selection


def selection_settings(config: AgentConfig | ServerConfig) -> SelectionSettings:
    """Return what the executor is chosen from, and for what."""
    return SelectionSettings(
        state_dir=config.calibration.state_dir,
        wanted=config.device.executor,
        device=config.device.name,
        threads=config.device.threads,
        throttle=config.device.throttle,
        batch_sizes=config.calibration.batch_sizes,
        repeats=config.calibration.repeats,
    )


def _open_model(config: AgentConfig | ServerConfig) -> SegmentSource:
    from splitd.calibration.model import ModelSpec  # noqa: PLC0415
    from splitd.calibration.torch_chain import open_torch  # noqa: PLC0415

    model, device = config.model, config.device
    source = open_torch(
        ModelSpec(model.name, model.weights, model.image_size, preprocessing_choice(model.preprocessing)),
        device=device.name,
        threads=device.threads,
        cuts=config.planner.cuts if isinstance(config, AgentConfig) else config.cuts,
    )
    source.verify()
    return source


def preprocessing_choice(section: PreprocessingSection | None) -> PreprocessingChoice | None:
    """Return what a configuration says of preprocessing; ModelError where it contradicts itself."""
    return None if section is None else PreprocessingChoice(**section.model_dump())


def calibration_settings(config: AgentConfig | ServerConfig) -> CalibrationSettings:
    """Return what is measured on this machine, as the daemon and `splitd calibrate` do it alike."""
    device = isinstance(config, AgentConfig)
    return CalibrationSettings(
        role="device" if device else "server",
        batch_sizes=config.calibration.batch_sizes,
        codecs=calibrated_codecs(config),
        repeats=config.calibration.repeats,
        throttle=config.device.throttle,
    )


def accuracy_settings(config: AgentConfig) -> AccuracySettings:
    """Return the bound on lossy codecs, and what it is checked with."""
    accuracy = config.accuracy
    return AccuracySettings(calibrated_codecs(config), accuracy.min_agreement, accuracy.samples)


def calibrated_codecs(config: AgentConfig | ServerConfig) -> tuple[str, ...]:
    """Return the codecs to calibrate: the configured ones, the raw image, and JPEG at the configured qualities."""
    codecs, qualities = (
        (config.planner.codecs, config.planner.jpeg_qualities)
        if isinstance(config, AgentConfig)
        else (config.codecs, config.jpeg_qualities)
    )
    images = (RAW, *(f"jpeg{quality}" for quality in qualities))
    return tuple(dict.fromkeys((*codecs, *images)))
