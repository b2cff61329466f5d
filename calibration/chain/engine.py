"""The engine: a chain and what runs it, slowed down if a slower device is to be emulated."""

from __future__ import annotations

from collections.abc import Sequence

from splitd.calibration.chain.description import ChainDescription
from splitd.calibration.chain.runner import Array, Live, Runner
from splitd.calibration.chain.throttle import Throttle
from splitd.calibration.images import Preprocessing, generated_samples, normalise
from splitd.errors import ModelError
from splitd.native.crossing import RAW, is_image, is_lossless

CHECKED_BATCH = 3  # neither 1 nor a number of tensors or classes that a dimension could have by chance
_JPEG_CHANNELS = 3


class Engine:
    """One network as a chain of segments, used by one thread at a time.

    Attributes:
        description: The network, its cuts, what crosses there.
        runner: Runs the segments; another one of the same chain may be put in its place between two batches, never
            while buffers of the old one are in use.
        throttle: Slows every piece of work down to the configured share of full speed.
    """

    def __init__(self, description: ChainDescription, runner: Runner, throttle: float | None = None) -> None:
        """Join them; `throttle` is the share of full speed, None for full speed. UsageError if it is none."""
        self.description = description
        self.runner = runner
        self.throttle = Throttle(throttle, sync=self._synchronise)

    @property
    def digest(self) -> str:
        """Identity of graph, weights and preprocessing."""
        return self.description.digest

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cuts k = 0..K: `input`, the chosen cuts, `output`."""
        return self.description.names

    @property
    def last(self) -> int:
        """K, the index of no offloading."""
        return self.description.last

    @property
    def threads(self) -> int:
        """CPU threads that the runner uses."""
        return self.runner.threads

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How the network wants its images; None: it takes prepared tensors only."""
        return self.description.preprocessing

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one prepared input, without the batch dimension."""
        return self.description.input.per_sample

    def crosses(self, k: int, codec: str) -> bool:
        """Tell whether a codec goes with position k < K.

        At the cuts those of tensors do; at k = 0 those of images, of which JPEG has three channels. A network without
        preprocessing takes its input as tensors: numbers that may be tokens, so lossless ones only.
        """
        if k > 0:
            return not is_image(codec)
        known = self.preprocessing
        if known is None:
            return not is_image(codec) and is_lossless(codec)
        return is_image(codec) and (codec == RAW or known.size[0] == _JPEG_CHANNELS)

    def at_full_speed(self) -> Engine:
        """Return an engine on the same runner that is not slowed down."""
        return Engine(self.description, self.runner)

    def verify(self) -> None:
        """Prove that what crosses at every split has the shapes that the description says; raises ModelError."""
        live = self.runner.to_live((generated_samples(CHECKED_BATCH, self.sample_shape, None),))
        for k, name in enumerate(self.names):
            found = tuple(array.shape for array in self.runner.to_arrays(live))
            expected = self.description.batch_shapes(k, CHECKED_BATCH)
            if found != expected:
                raise ModelError(f"at {name} cross {list(found)}, not {list(expected)}; this network cannot be split")
            live = self.runner.segment(k, live) if k < self.last else live
        self.runner.trim()

    def to_input(self, batch: Array) -> Live:
        """Return the network's input for uint8 images (B, H, W, 3) or prepared tensors.

        Raises:
            InputError: uint8 images of another shape than the network's, or for one that takes none.
        """
        with self.throttle:
            prepared = batch.dtype == self.description.input.dtype
            return self.runner.to_live((batch if prepared else normalise(batch, self.preprocessing),))

    def head(self, k: int, live: Live) -> Live:
        """Run segments 0..k-1."""
        return self._run(range(k), live)

    def tail(self, k: int, live: Live) -> tuple[Array, ...]:
        """Run segments k..K-1 and return the outputs as arrays."""
        return self.to_arrays(self._run(range(k, self.last), live))

    def from_arrays(self, arrays: Sequence[Array]) -> Live:
        """Return arrays that crossed the link as the runner's buffers."""
        return self.runner.to_live(arrays)

    def to_arrays(self, live: Live) -> tuple[Array, ...]:
        """Return the runner's buffers as contiguous arrays in the host's memory."""
        return self.runner.to_arrays(live)

    def _run(self, segments: range, live: Live) -> Live:
        for index in segments:
            with self.throttle:
                live = self.runner.segment(index, live)
        self.runner.synchronise()
        return live

    def _synchronise(self) -> None:
        self.runner.synchronise()  # whichever it is by now
