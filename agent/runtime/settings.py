"""What a configuration says about the engine, about calibration and about accuracy."""

from __future__ import annotations

from pathlib import Path

from splitd.agent.configuration import AgentConfig, PreprocessingSection, ServerConfig
from splitd.calibration.accuracy import AccuracySettings
from splitd.calibration.bundle import open_bundle, prove_runner
from splitd.calibration.chain import Engine
from splitd.calibration.executors import EXECUTORS
from splitd.calibration.images import PreprocessingChoice
from splitd.calibration.measure import CalibrationSettings
from splitd.native.spec import RAW


def open_engine(config: AgentConfig | ServerConfig) -> Engine:
    """Return the configured network on the configured device, proved to be divisible; raises ModelError or ConfigError.

    torch and timm are loaded only where the configuration names a model: a device that runs from a bundle has neither.
    """
    return _from_model(config) if config.model.bundle is None else _from_bundle(config, config.model.bundle)


def _from_bundle(config: AgentConfig | ServerConfig, path: Path) -> Engine:
    device = config.device
    bundle = open_bundle(path)
    runner = EXECUTORS["onnxruntime"].build(bundle, device=device.name, threads=device.threads, cache_dir=None)
    prove_runner(bundle, runner)
    return Engine(bundle.description, runner, device.throttle)


def _from_model(config: AgentConfig | ServerConfig) -> Engine:
    from splitd.calibration.model import ModelSpec  # noqa: PLC0415
    from splitd.calibration.torch_chain import TorchRunner, open_torch  # noqa: PLC0415

    model, device = config.model, config.device
    source = open_torch(
        ModelSpec(model.name, model.weights, model.image_size, preprocessing_choice(model.preprocessing)),
        device=device.name,
        threads=device.threads,
        cuts=config.planner.cuts if isinstance(config, AgentConfig) else config.cuts,
    )
    source.verify()
    return Engine(source.description, TorchRunner(source.partition, source.device), device.throttle)


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
