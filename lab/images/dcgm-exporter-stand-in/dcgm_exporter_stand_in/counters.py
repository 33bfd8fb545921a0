"""The collectors file: which fields are exported, as what, with which help text."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import gpu

KINDS = ("gauge", "counter", "label")
PROFILING_PREFIX = "DCGM_FI_PROF_"


class CountersError(Exception):
    """The collectors file cannot be used; the message names the file and the line."""


@dataclass(frozen=True)
class Counter:
    """One exported field."""

    field: str
    kind: str
    text: str


def read(path: Path, known: frozenset[str], warn: Callable[[str], None]) -> list[Counter]:
    """The exported fields in the file's order; `known` are the fields that the card has.

    A field of DCGM that the card lacks is skipped with a warning, as dcgm-exporter does; a name
    that is no field raises CountersError.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CountersError(f"could not read the collectors file {path}: {error}") from error
    counters = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        record = [part.strip() for part in next(csv.reader([line], skipinitialspace=True))]
        if len(record) != 3:
            raise CountersError(
                f"{path} line {number}: {len(record)} fields, expected 3 "
                "(DCGM field, metric type, help message)"
            )
        field, kind, text = record
        if kind not in KINDS:
            raise CountersError(
                f"{path} line {number}: metric type {kind!r} is not one of {', '.join(KINDS)}"
            )
        if field.startswith(PROFILING_PREFIX) or field in gpu.ABSENT_FIELDS:
            warn(f"Skipping line {number} ({field!r}): metric not enabled")
        elif field in (known | gpu.LABEL_VALUES.keys()):
            counters.append(Counter(field, kind, text))
        else:
            raise CountersError(
                f"{path} line {number}: could not find DCGM field {field!r} (the lab stand-in "
                "knows those of the default collectors file and of a GeForce RTX 4090)"
            )
    return counters
