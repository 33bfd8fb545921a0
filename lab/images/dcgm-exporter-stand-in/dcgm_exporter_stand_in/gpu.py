"""The invented card: a load that rises and falls, and what a 4090 would show under it.

Everything is a function of time, so two readings agree and energy is the integral of power.
"""

import math
from dataclasses import dataclass

MODEL = "NVIDIA GeForce RTX 4090 (lab stand-in)"
UUID = "GPU-1ab57a4d-0000-4090-0000-000000000000"
PCI_BUS_ID = "00000000:01:00.0"
DRIVER_VERSION = "560.35.03"

PERIOD = 600.0
IDLE_WATTS = 26.0
LOAD_WATTS = 334.0
FRAMEBUFFER_MIB = 24564
RESERVED_MIB = 348
USED_MIB = 22310
# Idle (P8) and boost (P2, the state of a 4090 that runs CUDA) clocks in MHz.
IDLE_CLOCKS = (210, 405)
BOOST_CLOCKS = (2610, 10251)


@dataclass(frozen=True)
class Card:
    """One card, powered on at `started` (Unix time in seconds)."""

    started: float

    def load(self, now: float) -> float:
        """The share of the card in use, 0 to 1."""
        return (1.0 - math.cos(2.0 * math.pi * (now - self.started) / PERIOD)) / 2.0

    def power(self, now: float) -> float:
        """Watts."""
        return IDLE_WATTS + LOAD_WATTS * self.load(now)

    def energy(self, now: float) -> int:
        """Millijoules since the card was powered on."""
        elapsed = now - self.started
        angle = 2.0 * math.pi * elapsed / PERIOD
        loaded = (elapsed - math.sin(angle) * PERIOD / (2.0 * math.pi)) / 2.0
        return int(1000.0 * (IDLE_WATTS * elapsed + LOAD_WATTS * loaded))

    def values(self, now: float) -> dict[str, int | float]:
        """The fields that DCGM 3.3.9 can read on a GeForce RTX 4090."""
        load = self.load(now)
        busy = load >= 0.01
        sm_clock, memory_clock = BOOST_CLOCKS if busy else IDLE_CLOCKS
        return {
            "DCGM_FI_DEV_SM_CLOCK": sm_clock - (int(75 * load) // 15 * 15 if busy else 0),
            "DCGM_FI_DEV_MEM_CLOCK": memory_clock,
            "DCGM_FI_DEV_GPU_TEMP": 34 + int(33 * load),
            "DCGM_FI_DEV_POWER_USAGE": self.power(now),
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": self.energy(now),
            "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": 0,
            "DCGM_FI_DEV_GPU_UTIL": round(100 * load),
            "DCGM_FI_DEV_MEM_COPY_UTIL": round(62 * load),
            "DCGM_FI_DEV_ENC_UTIL": 0,
            "DCGM_FI_DEV_DEC_UTIL": 0,
            "DCGM_FI_DEV_XID_ERRORS": 0,
            "DCGM_FI_DEV_POWER_VIOLATION": 0,
            "DCGM_FI_DEV_THERMAL_VIOLATION": 0,
            "DCGM_FI_DEV_FB_FREE": FRAMEBUFFER_MIB - RESERVED_MIB - USED_MIB,
            "DCGM_FI_DEV_FB_USED": USED_MIB,
            "DCGM_FI_DEV_FB_RESERVED": RESERVED_MIB,
            "DCGM_FI_DEV_FB_TOTAL": FRAMEBUFFER_MIB,
            "DCGM_FI_DEV_FAN_SPEED": 30 + int(35 * load) if busy else 0,
            "DCGM_FI_DEV_PSTATE": 2 if busy else 8,
        }


LABEL_VALUES = {"DCGM_FI_DRIVER_VERSION": DRIVER_VERSION}

# Fields DCGM knows and a GeForce RTX 4090 does not have (no ECC, NVLink, row remapping, vGPU; the
# memory temperature is absent on consumer cards, NVIDIA/dcgm-exporter#460).
ABSENT_FIELDS = frozenset(
    f"DCGM_FI_DEV_{name}"
    for name in (
        "MEMORY_TEMP",
        "ECC_SBE_VOL_TOTAL",
        "ECC_DBE_VOL_TOTAL",
        "ECC_SBE_AGG_TOTAL",
        "ECC_DBE_AGG_TOTAL",
        "RETIRED_SBE",
        "RETIRED_DBE",
        "RETIRED_PENDING",
        "NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
        "NVLINK_CRC_DATA_ERROR_COUNT_TOTAL",
        "NVLINK_REPLAY_ERROR_COUNT_TOTAL",
        "NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
        "NVLINK_BANDWIDTH_TOTAL",
        "VGPU_LICENSE_STATUS",
        "UNCORRECTABLE_REMAPPED_ROWS",
        "CORRECTABLE_REMAPPED_ROWS",
        "ROW_REMAP_FAILURE",
    )
)
