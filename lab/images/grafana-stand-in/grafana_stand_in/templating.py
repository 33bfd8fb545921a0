"""Time ranges, intervals and variables as Grafana puts them into a PromQL expression."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
REFERENCE = re.compile(r"\$\{(?P<braced>\w+)(?::(?P<format>\w+))?\}|\$(?P<plain>\w+)")
MAX_POINTS = 11_000
# pkg/tsdb/intervalv2: up to the first number an interval becomes the second (milliseconds).
ROUNDING = (
    (10, 1),
    (15, 10),
    (35, 20),
    (75, 50),
    (150, 100),
    (350, 200),
    (750, 500),
    (1_500, 1_000),
    (3_500, 2_000),
    (7_500, 5_000),
    (12_500, 10_000),
    (17_500, 15_000),
    (25_000, 20_000),
    (45_000, 30_000),
    (90_000, 60_000),
    (210_000, 120_000),
    (450_000, 300_000),
    (750_000, 600_000),
    (1_050_000, 900_000),
    (1_500_000, 1_200_000),
    (2_700_000, 1_800_000),
    (5_400_000, 3_600_000),
    (9_000_000, 7_200_000),
    (16_200_000, 10_800_000),
    (32_400_000, 21_600_000),
    (86_400_000, 43_200_000),
    (604_800_000, 86_400_000),
    (1_814_400_000, 604_800_000),
)


@dataclass(frozen=True)
class TimeRange:
    """From and to, in milliseconds since 1970."""

    start: int
    end: int

    @property
    def milliseconds(self) -> int:
        return self.end - self.start


def duration(text: str) -> int:
    """Milliseconds of "15s", "1m", "500ms". Raises ValueError."""
    match = re.fullmatch(r"(\d+)(ms|[smhdw])", text)
    if not match:
        raise ValueError(f"{text!r} is no duration as 15s or 1m")
    return int(match[1]) * UNITS[match[2]]


def moment(text: str, now: int) -> int:
    """Milliseconds of "now", "now-6h" or a number. Raises ValueError."""
    if text.isdecimal():
        return int(text)
    if text == "now":
        return now
    if text.startswith("now-"):
        return now - duration(text.removeprefix("now-"))
    raise ValueError(f"{text!r} is no time: give milliseconds, now or now-6h")


def interval(span: TimeRange, max_data_points: int, scrape_interval: int) -> int:
    """The step in milliseconds: the span over the points, rounded, at least a scrape interval."""
    wanted = span.milliseconds // max(max_data_points, 1)
    rounded = next((value for limit, value in ROUNDING if wanted <= limit), 2_592_000_000)
    # Prometheus refuses more than 11000 points a series.
    return max(rounded, scrape_interval, span.milliseconds // MAX_POINTS, 1)


def built_ins(span: TimeRange, step: int, scrape_interval: int) -> dict[str, str]:
    """The values of $__interval, $__rate_interval, $__range and their kin."""
    rate = max(step + scrape_interval, 4 * scrape_interval)
    seconds = round(span.milliseconds / 1000)
    return {
        "__interval": _text(step),
        "__interval_ms": str(step),
        "__rate_interval": _text(rate),
        "__rate_interval_ms": str(rate),
        "__range": f"{seconds}s",
        "__range_s": str(seconds),
        "__range_ms": str(span.milliseconds),
    }


def substitute(expression: str, values: Mapping[str, str]) -> str:
    """Put the values in for $name, ${name} and ${name:format}; an unknown name stays."""

    def replacement(match: re.Match[str]) -> str:
        return values.get(match["braced"] or match["plain"], match[0])

    return REFERENCE.sub(replacement, expression)


def _text(milliseconds: int) -> str:
    for unit in ("d", "h", "m", "s"):
        if milliseconds % UNITS[unit] == 0:
            return f"{milliseconds // UNITS[unit]}{unit}"
    return f"{milliseconds}ms"
