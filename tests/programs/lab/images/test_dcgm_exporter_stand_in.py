"""The dcgm-exporter stand-in as a program, and its card as a function of time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from dcgm_exporter_stand_in.gpu import FRAMEBUFFER_MIB, PERIOD, Card
from prometheus_client.parser import text_string_to_metric_families
from stand_in_process import (
    IMAGES,
    Program,
    free_port,
    run_stand_in,
    stand_in_command,
    stand_in_environment,
    wait_until,
)

IMAGE = "dcgm-exporter-stand-in"
COLLECTORS = """\
# a comment
DCGM_FI_DEV_POWER_USAGE,              gauge, Power draw (in W).
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION, counter, Energy (in mJ).
DCGM_FI_DEV_FB_USED , gauge, Used (in MiB).
DCGM_FI_DEV_MEMORY_TEMP, gauge, Memory temperature (in C).
DCGM_FI_PROF_PIPE_TENSOR_ACTIVE, gauge, Tensor cores.
DCGM_FI_DRIVER_VERSION, label, Driver Version
"""
Samples = dict[str, tuple[dict[str, str], float]]


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[tuple[str, Program]]:
    collectors = tmp_path / "counters.csv"
    collectors.write_text(COLLECTORS)
    port = free_port()
    environment = stand_in_environment(
        IMAGE,
        {
            "DCGM_EXPORTER_LISTEN": f"127.0.0.1:{port}",
            "DCGM_EXPORTER_COLLECTORS": str(collectors),
            "DCGM_EXPORTER_INTERVAL": "100",
            "NODE_NAME": "lab",
        },
    )
    url = f"http://127.0.0.1:{port}"
    program = Program(stand_in_command(IMAGE), tmp_path, environment, f"{url}/health")
    yield url, program
    program.stop()


def scrape(url: str) -> Samples:
    response = requests.get(f"{url}/metrics", timeout=10)
    assert response.headers["content-type"].startswith("text/plain")
    return {
        sample.name: (sample.labels, sample.value)
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_the_collectors_file_decides(exporter: tuple[str, Program]) -> None:
    url, program = exporter
    samples = scrape(url)
    names = {name.removesuffix("_total") for name in samples}
    assert names == {
        "DCGM_FI_DEV_POWER_USAGE",
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "DCGM_FI_DEV_FB_USED",
    }
    assert samples["DCGM_FI_DEV_FB_USED"][0] == {
        "gpu": "0",
        "UUID": "GPU-1ab57a4d-0000-4090-0000-000000000000",
        "pci_bus_id": "00000000:01:00.0",
        "device": "nvidia0",
        "modelName": "NVIDIA GeForce RTX 4090 (lab stand-in)",
        "Hostname": "lab",
        "DCGM_FI_DRIVER_VERSION": "560.35.03",
    }
    text = requests.get(f"{url}/metrics", timeout=10).text
    assert "\nDCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{" in text
    assert "'DCGM_FI_PROF_PIPE_TENSOR_ACTIVE'): metric not enabled" in program.output()


def test_energy_grows_between_samples_and_it_ends_on_sigterm(
    exporter: tuple[str, Program],
) -> None:
    url, program = exporter
    name = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"

    def energy() -> float:
        return next(value for key, (_, value) in scrape(url).items() if key.startswith(name))

    before = energy()
    wait_until(lambda: energy() > before, "more energy")
    assert program.stop() == 0


def test_energy_is_the_integral_of_power() -> None:
    card = Card(started=1000.0)
    step = 0.5
    joules = sum(card.power(1000.0 + (index + 0.5) * step) * step for index in range(2400))
    assert card.energy(1000.0 + 1200.0) / 1000 == pytest.approx(joules, rel=1e-6)


def test_values_stay_those_of_a_4090() -> None:
    card = Card(started=0.0)
    for now in range(0, int(PERIOD), 7):
        values = card.values(float(now))
        assert 20 <= values["DCGM_FI_DEV_POWER_USAGE"] <= 450
        assert 0 <= values["DCGM_FI_DEV_GPU_UTIL"] <= 100
        assert 30 <= values["DCGM_FI_DEV_GPU_TEMP"] <= 83
        memory = sum(values[f"DCGM_FI_DEV_FB_{part}"] for part in ("USED", "FREE", "RESERVED"))
        assert memory == FRAMEBUFFER_MIB
        assert abs(card.power(now + 5.0) - card.power(float(now))) < 10
    assert not [name for name in values if "PROF" in name or "MEMORY_TEMP" in name]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("DCGM_FI_DEV_GPU_UTIL, gauge", "line 1: 2 fields, expected 3"),
        ("DCGM_FI_DEV_GPU_UTIL, histogram, x", "metric type 'histogram' is not one of"),
        ("DCGM_FI_DEV_GPU_UTILL, gauge, x", "could not find DCGM field 'DCGM_FI_DEV_GPU_UTILL'"),
    ],
)
def test_a_wrong_collectors_file_ends_it(tmp_path: Path, line: str, complaint: str) -> None:
    collectors = tmp_path / "counters.csv"
    collectors.write_text(line)
    done = run_stand_in(IMAGE, tmp_path, {}, "-f", str(collectors), "-a", "127.0.0.1:0")
    assert done.returncode == 1
    assert complaint in done.stderr


def test_the_shipped_collectors_file_is_accepted(tmp_path: Path) -> None:
    """With an address that cannot be bound the program gets past its collectors and stops."""
    shipped = IMAGES / IMAGE / "default-counters.csv"
    done = run_stand_in(IMAGE, tmp_path, {}, "-f", str(shipped), "-a", "192.0.2.1:9400")
    assert done.returncode == 1
    assert "Cannot assign requested address" in done.stderr
    assert "Skipping" not in done.stdout


def test_version_names_the_stand_in(tmp_path: Path) -> None:
    assert "lab stand-in" in run_stand_in(IMAGE, tmp_path, {}, "--version").stdout
