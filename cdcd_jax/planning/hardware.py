"""Accelerators by their data sheets, and a step's predicted time on them."""

from collections.abc import Sequence
from typing import NamedTuple

from cdcd_jax.planning.compiled import Collective
from cdcd_jax.planning.flops import Cost
from cdcd_jax.planning.products import Tile

EFFICIENCY = 0.4
"""Share of the peak that matrix products are assumed to reach. Large transformers are reported at
0.35 to 0.55 of it; small ones reach less, and only a measurement says how much."""

LATENCY = 10e-6
"""Seconds from the start of a collective to its first byte, inside a node; an assumption."""

FAR_LATENCY = 30e-6
"""The same between nodes; an assumption."""


class Hardware(NamedTuple):
    """One device and its links. Rates are per device and second.

    Attributes:
        title: What it is called.
        peak: Dense operations in bfloat16 (float16 on the V100), multiplication and addition two.
        memory: Bytes.
        bandwidth: Bytes to or from memory.
        near: Bytes sent in one direction to devices of the same node.
        far: Bytes sent in one direction to other nodes.
        node: Devices of a node: a server of GPUs, a pod of TPUs.
        tile: What its matrix unit works on at once.
    """

    title: str
    peak: float
    memory: float
    bandwidth: float
    near: float
    far: float
    node: int
    tile: Tile


# NVIDIA's data sheets of the SXM forms, dense (they print twice as much, for sparse matrices);
# NVLink in one direction is half of what they print. Between servers: the network of a DGX of that
# generation, 4 x 100, 8 x 200 or 8 x 400 Gbit/s for eight GPUs. Google's pages on Cloud TPU: half
# of the bidirectional inter-chip bandwidth, and the data centre's network per chip where given
# it, else that of v5p. Tiles: of tensor cores one instruction (wmma, mma.sync or wgmma in the
# documentation of PTX); of TPUs 8 sublanes by a systolic array of 128 x 128, of v6e 256 x 256.
_VOLTA, _AMPERE, _HOPPER = Tile(16, 16, 16), Tile(16, 16, 8), Tile(64, 16, 8)
_MXU, _WIDE_MXU = Tile(8, 128, 128), Tile(8, 256, 256)

HARDWARE = {
    "v100": Hardware("V100 32 GB", 125e12, 32e9, 0.9e12, 150e9, 6.25e9, 8, _VOLTA),
    "a100": Hardware("A100 80 GB", 312e12, 80e9, 2.039e12, 300e9, 25e9, 8, _AMPERE),
    "h100": Hardware("H100", 989e12, 80e9, 3.35e12, 450e9, 50e9, 8, _HOPPER),
    "h200": Hardware("H200", 989e12, 141e9, 4.8e12, 450e9, 50e9, 8, _HOPPER),
    "b200": Hardware("B200", 2250e12, 180e9, 8e12, 900e9, 50e9, 8, _HOPPER),
    "tpu-v4": Hardware("TPU v4", 275e12, 32e9, 1.2e12, 150e9, 6.25e9, 4096, _MXU),
    "tpu-v5e": Hardware("TPU v5e", 197e12, 16e9, 0.819e12, 200e9, 3.125e9, 256, _MXU),
    "tpu-v5p": Hardware("TPU v5p", 459e12, 95e9, 2.765e12, 600e9, 6.25e9, 8960, _MXU),
    "tpu-v6e": Hardware("TPU v6e", 918e12, 32e9, 1.638e12, 400e9, 6.25e9, 256, _WIDE_MXU),
}
"""What a plan can be made for."""


class StepTime(NamedTuple):
    """Predicted time of a training step, or of a run of a sampler, in seconds.

    Attributes:
        products: Matrix products, at ``EFFICIENCY`` of the peak.
        traffic: Their reading and writing of memory.
        near: Collectives inside a node.
        far: Collectives that leave it.
    """

    products: float
    traffic: float
    near: float
    far: float

    @property
    def bound(self) -> str:
        """The part that takes longest, and so bounds the whole."""
        return max(self._fields, key=lambda name: getattr(self, name))

    @property
    def compute(self) -> float:
        """What the device itself needs: it reads and computes at once."""
        return max(self.products, self.traffic)

    @property
    def communication(self) -> float:
        """What the links need."""
        return self.near + self.far

    @property
    def apart(self) -> float:
        """The whole step if devices wait for each collective: the upper bound."""
        return self.compute + self.communication

    @property
    def overlapped(self) -> float:
        """The whole step if collectives hide behind computation as far as they can."""
        return max(self.compute, self.communication)


def find_hardware(name: str) -> Hardware:
    """Find hardware by name.

    Raises:
        ValueError: If it is not in the table.

    >>> find_hardware("h200").memory
    141000000000.0
    """
    if name not in HARDWARE:
        raise ValueError(f"hardware = {name} is not known; there are {', '.join(HARDWARE)}")
    return HARDWARE[name]


def predict_step(cost: Cost, collectives: Sequence[Collective], hardware: Hardware) -> StepTime:
    """Predict a step's time from what each device has to do.

    Seconds = max(operations / (EFFICIENCY peak), bytes / bandwidth) + sum over collectives of
    bytes sent on a ring / bandwidth + count x latency. Between nodes, rings go in and out through
    the links of all members that a node has, so bandwidth = min(near, far x members in a node).

    Args:
        cost: Of one device.
        collectives: From ``read_collectives``.
        hardware: What it runs on; devices are numbered node by node.

    Returns:
        The time and its parts.

    >>> reduced = Collective("all-reduce", size=450_000_000, group=(0, 1), runs=1)
    >>> time = predict_step(Cost(flops=989e12 * 0.4), [reduced], HARDWARE["h200"])
    >>> time.compute, time.near, time.overlapped
    (1.0, 0.00101, 1.0)
    """
    near = far = 0.0
    for collective in collectives:
        nodes = [device // hardware.node for device in collective.group]
        if len(set(nodes)) > 1:
            bandwidth = min(hardware.near, hardware.far * nodes.count(nodes[0]))
            far += collective.sent / bandwidth + collective.runs * FAR_LATENCY
        else:
            near += collective.sent / hardware.near + collective.runs * LATENCY
    return StepTime(
        products=cost.flops / (EFFICIENCY * hardware.peak),
        traffic=cost.bytes / hardware.bandwidth,
        near=near,
        far=far,
    )
