"""Named processors for the roofline: peak, bandwidth, what share of the peak is reached, and the cost of one kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from splitd.errors import ConfigError, UsageError

PRESETS_RESOURCE = "hardware.yaml"
SHARES = frozenset({"efficiency", "depthwise_efficiency"})


@dataclass(frozen=True)
class Hardware:
    """One processor; FLOP counts a multiply-add as two, the efficiencies are shares of `peak_flops` in (0, 1]."""

    name: str
    peak_flops: float
    bandwidth_bytes_per_s: float
    efficiency: float
    depthwise_efficiency: float
    kernel_overhead_s: float
    source: str

    def at_efficiency(self, efficiency: float) -> Hardware:
        """Return this processor reaching `efficiency` of its peak; the depthwise share keeps its ratio to it."""
        depthwise = min(1.0, self.depthwise_efficiency * efficiency / self.efficiency)
        return replace(self, efficiency=efficiency, depthwise_efficiency=depthwise)


def load_presets(extra: Path | None = None) -> dict[str, Hardware]:
    """Return the built-in processors by name, joined (and overridden) by those of the YAML file `extra`.

    Raises ConfigError with one problem per fault.
    """
    built_in = files(__package__).joinpath(PRESETS_RESOURCE).read_text(encoding="utf-8")
    presets = parse_presets(built_in, PRESETS_RESOURCE)
    if extra is not None:
        try:
            text = extra.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([f"{extra}: cannot be read: {error}"]) from error
        presets |= parse_presets(text, str(extra))
    return presets


def find_preset(presets: Mapping[str, Hardware], name: str) -> Hardware:
    """Return one processor; raises UsageError that lists the known names."""
    if name not in presets:
        raise UsageError(f"no hardware named {name!r}; known: {', '.join(sorted(presets))}; more with --hardware")
    return presets[name]


def parse_presets(text: str, origin: str) -> dict[str, Hardware]:
    """Return the processors of one YAML document; raises ConfigError with one problem per fault."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError([f"{origin}: not YAML: {error}"]) from error
    if not isinstance(document, dict):
        raise ConfigError([f"{origin}: expected a mapping of names to processors"])
    problems: list[str] = []
    presets = {str(name): _entry(str(name), entry, origin, problems) for name, entry in document.items()}
    if problems:
        raise ConfigError(problems)
    return {name: hardware for name, hardware in presets.items() if hardware is not None}


def _entry(name: str, entry: Any, origin: str, problems: list[str]) -> Hardware | None:
    if not isinstance(entry, dict):
        problems.append(f"{origin}: {name}: expected a mapping")
        return None
    known = {field.name for field in fields(Hardware)} - {"name"}
    faults = [f"unknown key {key!r}" for key in entry if key not in known]
    numbers: dict[str, float] = {}
    for key in sorted(known - {"source"}):
        value = _number(key, entry.get(key, entry.get("efficiency") if key == "depthwise_efficiency" else None))
        if isinstance(value, str):
            faults.append(value)
        else:
            numbers[key] = value
    problems.extend(f"{origin}: {name}: {fault}" for fault in faults)
    return None if faults else Hardware(name=name, source=str(entry.get("source", origin)), **numbers)


def _number(key: str, value: Any) -> float | str:
    """Return the value as a float, or the complaint about it."""
    try:
        number = float(value)  # YAML 1.1 reads 1e12 without a sign as text, which people write all the same
    except (TypeError, ValueError):
        return f"{key}: expected a number, found {value!r}"
    low_enough = number <= 1 if key in SHARES else math.isfinite(number)
    if isinstance(value, bool) or not number > 0 or not low_enough:
        return f"{key}: expected a positive {'share up to 1' if key in SHARES else 'number'}, found {value!r}"
    return number
