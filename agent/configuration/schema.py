"""The configuration of both daemons: one frozen pydantic model per file, every fault reported at once.

Units stand in the key names. Unknown keys are refused, because a misspelt key that is ignored is a fault found late.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from splitd.agent.backends import BACKENDS
from splitd.agent.configuration.yaml_lines import KeyPath, load_yaml
from splitd.agent.decide import DEFAULT_OBJECTIVE, OBJECTIVES
from splitd.errors import CodecError, ConfigError
from splitd.native.spec import parse_tensor_codec

FROM_SERVER = Path("from-server")
AGENT_CONFIG = Path("/etc/splitd/agent.yaml")
SERVER_CONFIG = Path("/etc/splitd/server.yaml")


def _known_codec(label: str) -> str:
    try:
        return parse_tensor_codec(label).label
    except CodecError as error:
        raise ValueError(str(error)) from None


def _known_objective(name: str) -> str:
    if name not in OBJECTIVES:
        raise ValueError(f"there is no objective {name!r}; there are {', '.join(OBJECTIVES)}")
    return name


def _known_backend(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"there is no backend {name!r}; there are {', '.join(BACKENDS)}")
    return name


Share = Annotated[float, Field(gt=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Quality = Annotated[int, Field(ge=1, le=100)]
CodecLabel = Annotated[str, AfterValidator(_known_codec)]
DEFAULT_CODECS = ("f32", "f32x", "f16", "u8", "u8h", "u6h", "u4h")
LogLevel = Literal["debug", "info", "warning", "error"]


def _recorder_size(value: object) -> object:
    """Take `off` (which YAML reads as false) or a number of MB; `on` says too little."""
    if value is True or not isinstance(value, bool | int | float):
        raise ValueError("`off`, or a size in MB such as 16")
    return value


# At least a file of the ring must hold a profile and some minutes; at most what a mistyped unit should not fill.
RecorderMegabytes = Annotated[
    Literal[False] | Annotated[float, Field(ge=1, le=100_000, allow_inf_nan=False)], BeforeValidator(_recorder_size)
]


class Section(BaseModel):
    """Base of every section: immutable, and closed against unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class PreprocessingSection(Section):
    """How images become the network's input; what is left out is the preset's, or else the network's own.

    In the file the preset may stand alone: `preprocessing: none`.
    """

    preset: Literal["imagenet", "none"] | None = Field(
        None, description="imagenet, or none: prepared tensors only; default: what the network brings"
    )
    size: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(None, description="channels, height, width")
    mean: tuple[float, ...] | None = Field(None, description="per channel, of values scaled to 0..1")
    std: tuple[PositiveFloat, ...] | None = Field(None, description="per channel, of values scaled to 0..1")
    interpolation: str | None = Field(None, description="as Pillow calls it: nearest, bilinear, bicubic, ...")
    crop_pct: Annotated[float, Field(ge=0.1, le=1)] | None = Field(None, description="share that the crop keeps")
    crop_mode: Literal["center", "squash", "border"] | None = Field(None, description="how images are made to fit")

    @model_validator(mode="before")
    @classmethod
    def _preset_alone(cls, value: object) -> object:
        return {"preset": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _none_has_no_fields(self) -> PreprocessingSection:
        given = [name for name in type(self).model_fields if name != "preset" and getattr(self, name) is not None]
        if self.preset == "none" and given:
            raise ValueError(f"`none` has no {', '.join(given)}; leave the preset out")
        return self


class ModelConfig(Section):
    """Which network runs; both ends must name the same one."""

    name: str = Field("efficientnet_b0", description="timm model, path of a .pt2 program, or module:function")
    weights: str = Field("random:0", description="random:SEED, pretrained, or path of a safetensors/checkpoint file")
    image_size: PositiveInt | None = Field(None, description="pixels a side; default: the model's own")
    preprocessing: PreprocessingSection | None = Field(None, description="how images become the network's input")
    bundle: Path | None = Field(
        None, description="instead of all these: the file that `splitd export` made; on a device also `from-server`"
    )

    @model_validator(mode="after")
    def _one_network(self) -> ModelConfig:
        others = [name for name in type(self).model_fields if name != "bundle" and name in self.model_fields_set]
        if self.bundle is not None and others:
            raise ValueError(
                f"bundle and {others[0]} exclude each other: a bundle has weights, size and preprocessing in it, say "
                f"{others[0]} when it is exported; name either the bundle or the model"
            )
        return self

    @property
    def comes_from_server(self) -> bool:
        """Whether the device gets its bundle from the server that it connects to."""
        return self.bundle == FROM_SERVER

    @property
    def shown(self) -> str:
        """What people are told is loaded."""
        return self.name if self.bundle is None else str(self.bundle)


ExecutorChoice = Literal["auto", "torch", "onnxruntime", "openvino", "inductor", "tensorrt"]
"""`auto` and the names of `calibration.executors.EXECUTORS`, which would take numpy and more to import."""


class DeviceConfig(Section):
    """The processor that runs the engine."""

    name: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, cuda or cuda:N")
    executor: ExecutorChoice = Field("auto", description="what runs the network; auto: the fastest that agrees")
    threads: PositiveInt | None = Field(None, description="CPU threads for the network; default: the executor's choice")
    throttle: Share | None = Field(None, description="run at this share of full speed, to emulate a slower device")


class CalibrationConfig(Section):
    """Start-up measurements."""

    batch_sizes: tuple[PositiveInt, ...] = Field((1, 2, 4, 8), min_length=1, max_length=16)
    repeats: Annotated[int, Field(ge=3, le=1000)] = Field(5, description="timed runs per batch size")
    state_dir: Path = Field(Path("/var/lib/splitd"), description="where profiles are kept")


class AccuracyConfig(Section):
    """Which lossy codecs may be used; see docs/method.md."""

    min_agreement: Share = Field(0.99, description="top-1 agreement with the full-precision model, at least")
    samples: str | None = Field(
        None, description="directory of sample images, or 'generated'; without it only lossless codecs and f16 are used"
    )


class KeysConfig(Section):
    """CURVE keys made by `splitd keygen`."""

    secret_file: Path = Field(description="this end's secret key")
    peer_public_key: str | None = Field(None, description="the server's public key (agent only)")
    allow_file: Path | None = Field(None, description="public keys of the devices that may connect (server only)")


class IntakeConfig(Section):
    """The local socket for applications, and batching."""

    socket: Path = Field(Path("/run/splitd/infer.sock"))
    group: str | None = Field(None, description="group that may use the socket; default: the daemon's own")
    max_batch: Annotated[int, Field(ge=1, le=256)] = 8
    max_wait_ms: Annotated[float, Field(ge=0, le=10_000)] = Field(
        0.0, description="wait on purpose, so long at most, for others to join a batch; 0: never while there is work"
    )
    max_queue: PositiveInt = Field(64, description="requests waiting; more are refused with an overload error")
    max_request_mb: PositiveFloat = Field(64.0, description="largest request, MB")
    deadline_ms: PositiveFloat = Field(10_000.0, description="a request without its own deadline gets this one")


class PlannerSection(Section):
    """How the split is chosen."""

    privacy: bool = Field(False, description="true: the input never leaves the device")
    codecs: tuple[CodecLabel, ...] = Field(DEFAULT_CODECS, min_length=1)
    jpeg_qualities: tuple[Quality, ...] = Field((90,), description="full offloading as JPEG of these qualities")
    cuts: Literal["natural", "compressive", "all"] = Field("natural", description="which cuts the network is split at")
    objective: Annotated[str, AfterValidator(_known_objective)] = Field(
        DEFAULT_OBJECTIVE, description="what is minimised: median, ninetieth percentile or mean of the time"
    )
    deadline_ms: PositiveFloat | None = Field(None, description="maximise the chance to answer within this")
    hysteresis: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.03, description="share of the time that staying with the last split may give up, while no gain is sure"
    )
    explore: Annotated[float, Field(ge=0, le=0.2)] = Field(
        0.02, description="share of batches that may try the server while working locally is predicted to be best"
    )


class LinkConfig(Section):
    """Link supervision."""

    ping_interval_s: PositiveFloat = 1.0
    probe_share: Annotated[float, Field(ge=0, le=0.05)] = Field(0.01, description="capacity that idle probes may use")
    window_mb: PositiveFloat = Field(4.0, description="unacknowledged bytes in flight, at most, MB")
    max_bundle_mb: Annotated[float, Field(gt=0, le=65_000)] = Field(
        2000.0, description="largest network that is taken from the server (model.bundle: from-server), MB"
    )


class ControlConfig(Section):
    """The local control socket (HTTP)."""

    socket: Path = Field(Path("/run/splitd/control.sock"))
    group: str | None = Field(None, description="group that may read; default: the daemon's own")
    operators: tuple[str, ...] = Field((), description="users besides root who may change things")


class ServerAddress(Section):
    """Where the tail runs."""

    address: str = Field(description="tcp://HOST:PORT of the edge server")

    @field_validator("address")
    @classmethod
    def _tcp(cls, value: str) -> str:
        return check_tcp_address(value)


class AgentConfig(Section):
    """/etc/splitd/agent.yaml."""

    server: ServerAddress
    model: ModelConfig = ModelConfig()
    device: DeviceConfig = DeviceConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    accuracy: AccuracyConfig = AccuracyConfig()
    intake: IntakeConfig = IntakeConfig()
    planner: PlannerSection = PlannerSection()
    link: LinkConfig = LinkConfig()
    recorder: RecorderMegabytes = Field(
        False, description="off, or MB on disk: keep what decisions were made from; see docs/operations.md"
    )
    control: ControlConfig = ControlConfig()
    keys: KeysConfig | None = None
    insecure: bool = Field(False, description="true: allow a non-loopback server without keys")
    log_level: LogLevel = "info"

    @model_validator(mode="after")
    def _closed_by_default(self) -> AgentConfig:
        _require_keys("server.address", self.server.address, keys=self.keys, insecure=self.insecure)
        if self.keys is not None and self.keys.peer_public_key is None:
            raise ValueError("keys.peer_public_key: needed, the public key that `splitd keygen` printed on the server")
        return self


class ComputeConfig(Section):
    """Where the server's tails run."""

    backend: Annotated[str, AfterValidator(_known_backend)] = Field("local", description="local: in this process")


class LimitsConfig(Section):
    """What the server accepts, at most."""

    max_clients: PositiveInt = 32
    max_memory_mb_per_client: PositiveFloat = Field(64.0, description="unfinished requests of one device, MB")
    max_queue: PositiveInt = Field(64, description="requests waiting for the processor")
    max_batch: Annotated[int, Field(ge=1, le=256)] = 64


class ServerConfig(Section):
    """/etc/splitd/server.yaml."""

    bind: str = Field("tcp://127.0.0.1:7571", description="tcp://ADDRESS:PORT to listen on")
    model: ModelConfig = ModelConfig()
    device: DeviceConfig = DeviceConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    cuts: Literal["natural", "compressive", "all"] = Field("natural", description="as the agent's planner.cuts")
    codecs: tuple[CodecLabel, ...] = Field(DEFAULT_CODECS, min_length=1)
    jpeg_qualities: tuple[Quality, ...] = Field((90,), description="JPEG qualities that devices may send")
    compute: ComputeConfig = ComputeConfig()
    limits: LimitsConfig = LimitsConfig()
    control: ControlConfig = ControlConfig(socket=Path("/run/splitd/server.sock"))
    keys: KeysConfig | None = None
    insecure: bool = Field(False, description="true: allow a non-loopback address without keys")
    log_level: LogLevel = "info"

    @field_validator("bind")
    @classmethod
    def _tcp(cls, value: str) -> str:
        return check_tcp_address(value)

    @model_validator(mode="after")
    def _closed_by_default(self) -> ServerConfig:
        _require_keys("bind", self.bind, keys=self.keys, insecure=self.insecure)
        if self.model.comes_from_server:
            raise ValueError("model.bundle: a server has no server to get it from; give the path of a file")
        if self.keys is not None and self.keys.allow_file is None:
            raise ValueError("keys.allow_file: needed, the file with the public keys of the devices that may connect")
        return self


ConfigT = TypeVar("ConfigT", bound=Section)


def load_config(path: Path, kind: type[ConfigT]) -> ConfigT:
    """Read and check a configuration file.

    Raises:
        ConfigError: With every problem as `file:line: key: what is wrong and the way out`.
    """
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError([f"{path}:1: expected `key: value` lines, found {type(data).__name__}"])
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError([_describe(path, lines, kind, item) for item in error.errors()]) from None


def config_kind(path: Path) -> type[AgentConfig] | type[ServerConfig]:
    """Tell which daemon a file belongs to: a server has `bind`, an agent has `server`."""
    data, _ = load_yaml(path)
    return ServerConfig if isinstance(data, dict) and "bind" in data else AgentConfig


def check_tcp_address(value: str) -> str:
    """Return `value` if it is `tcp://HOST:PORT`, else raise ValueError."""
    match = re.fullmatch(r"tcp://(\[[0-9A-Fa-f:]+\]|[^\s:/\[\]]+):(\d{1,5})", value)
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError(f"{value!r} is not of the form tcp://HOST:PORT")
    return value


def is_loopback(address: str) -> bool:
    """Tell whether a `tcp://` address stays on this machine."""
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_keys(key: str, address: str, *, keys: KeysConfig | None, insecure: bool) -> None:
    if keys is None and not insecure and not is_loopback(address):
        raise ValueError(
            f"{key}: {address} is not a loopback address and there are no keys; make keys with `splitd keygen DIR` and "
            "name them under `keys:`, or say `insecure: true` if you accept that anyone on the network can connect"
        )


def _describe(path: Path, lines: dict[KeyPath, int], kind: type[BaseModel], item: ErrorDetails) -> str:
    loc: KeyPath = tuple(item["loc"])
    line = next((lines[loc[:n]] for n in range(len(loc), -1, -1) if loc[:n] in lines), 1)
    name = ".".join(map(str, loc))
    if item["type"] == "extra_forbidden":
        return f"{path}:{line}: {name}: unknown key{_suggest(kind, loc)}"
    if item["type"] == "missing":
        return f"{path}:{line}: {name}: this key is required"
    message = item["msg"].removeprefix("Value error, ")
    given = item["input"]
    shown = f" (found {given!r})" if isinstance(given, str | int | float | bool) and repr(given) not in message else ""
    return f"{path}:{line}: {name + ': ' if name else ''}{message}{shown}"


def _suggest(kind: type[BaseModel], loc: KeyPath) -> str:
    fields = _fields_at(kind, loc[:-1])
    near = difflib.get_close_matches(str(loc[-1]), fields, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; the keys here are {', '.join(fields)}"


def _fields_at(kind: type[BaseModel], loc: KeyPath) -> list[str]:
    model: Any = kind
    for step in loc:
        annotation = model.model_fields[str(step)].annotation
        args = [arg for arg in getattr(annotation, "__args__", ()) if arg is not type(None)]
        model = args[0] if args else annotation
    return list(model.model_fields)
