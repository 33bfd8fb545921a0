"""The agent's exchanges, from PostgreSQL's table agent.exchanges.

Counters and histograms are counted over the whole table at every scrape, so they outlive restarts
of every container. They only ever grow, because the Project API only adds rows; rows taken away
by hand look to Prometheus like a counter reset.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import LiteralString, NamedTuple

import psycopg
from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from psycopg.rows import class_row, scalar_row

from agent_exporter.settings import Settings

OUTCOMES = ("completed", "interrupted", "error")
SECONDS_BOUNDS = tuple(
    Decimal(bound)
    for bound in ("0.1", "0.25", "0.5", "1", "2.5", "5", "10", "20", "30", "60", "120")
)
LENGTH_BOUNDS = tuple(Decimal(bound) for bound in (50, 100, 250, 500, 1000, 2000, 4000, 8000))
MAX_TOPICS = 20
OTHER_TOPICS = "other"

USERS: LiteralString = """
SELECT count(DISTINCT user_name) FROM agent.exchanges
WHERE created_at > now() - interval '24 hours'
"""

# A bucket of Prometheus includes its upper bound, one of width_bucket its lower: negating both
# sides turns one into the other, and the result is how many bounds are not below the value.
# numeric keeps the sum of seconds exact, whatever order the rows are read in: it never falls.
# MATERIALIZED keeps whole answers out of the sort.
GROUPS: LiteralString = """
WITH measured AS MATERIALIZED (
    SELECT id, outcome, left(lower(btrim(course)), 64) AS topic,
           CASE WHEN outcome = 'completed' AND jsonb_typeof(timings->'total') = 'number'
                THEN (timings->>'total')::numeric END AS seconds,
           CASE WHEN outcome = 'completed' THEN char_length(answer)::numeric END AS length
    FROM agent.exchanges
)
SELECT outcome, topic,
       width_bucket(-seconds, %(seconds_bounds)s::numeric[]) AS seconds_bounds_reached,
       width_bucket(-length, %(length_bounds)s::numeric[]) AS length_bounds_reached,
       count(*) AS size, min(id) AS first_id, sum(seconds) AS seconds, sum(length) AS length
FROM measured
GROUP BY 1, 2, 3, 4
"""


class Group(NamedTuple):
    """Exchanges that count alike; `*_bounds_reached` is how many bounds are not below the value.

    The bounds and sums are None for exchanges without such a value, as for those not completed.
    """

    outcome: str
    topic: str
    seconds_bounds_reached: int | None
    length_bounds_reached: int | None
    size: int
    first_id: int
    seconds: Decimal | None
    length: Decimal | None


async def collect(settings: Settings) -> Sequence[Metric]:
    """All metrics from one snapshot of the table.

    Raises psycopg.Error when PostgreSQL is away, refuses the role, or has no such table yet, and
    OSError when the password file cannot be read.
    """
    connection = await psycopg.AsyncConnection.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        dbname=settings.postgres_db,
        user=settings.postgres_user,
        password=settings.postgres_password_file.read_text().strip(),
        application_name="agent_exporter",
        connect_timeout=3,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=2,
    )
    async with connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        users = await connection.cursor(row_factory=scalar_row).execute(USERS)
        unique_users: int = await users.fetchone() or 0
        bounds = {
            "seconds_bounds": [-bound for bound in reversed(SECONDS_BOUNDS)],
            "length_bounds": [-bound for bound in reversed(LENGTH_BOUNDS)],
        }
        rows = await connection.cursor(row_factory=class_row(Group)).execute(GROUPS, bounds)
        groups = await rows.fetchall()
    return metrics(unique_users, groups)


def metrics(unique_users: int, groups: Sequence[Group]) -> Sequence[Metric]:
    """The metric families these groups of exchanges add up to."""
    outcomes = Counter(dict.fromkeys(OUTCOMES, 0))
    for group in groups:
        outcomes[group.outcome] += group.size
    seconds = histogram(
        ((group.seconds_bounds_reached, group.size, group.seconds) for group in groups),
        SECONDS_BOUNDS,
    )
    lengths = histogram(
        ((group.length_bounds_reached, group.size, group.length) for group in groups),
        LENGTH_BOUNDS,
    )
    return (
        GaugeMetricFamily(
            "agent_unique_users_24h", "Different users of the last 24 hours.", value=unique_users
        ),
        CounterMetricFamily("agent_interactions", "Exchanges stored.", value=outcomes.total()),
        _counter("agent_outcomes", "Exchanges stored, by how they ended.", "outcome", outcomes),
        _counter(
            "agent_topics",
            f"Exchanges stored, by course: the first {MAX_TOPICS} courses seen, then "
            f"{OTHER_TOPICS}.",
            "topic",
            topic_sizes(groups),
        ),
        HistogramMetricFamily(
            "agent_response_time_seconds",
            "Time from a question's arrival to the end of its answer, completed exchanges.",
            *seconds,
        ),
        HistogramMetricFamily(
            "agent_answer_length_chars", "Characters of an answer, completed exchanges.", *lengths
        ),
    )


def topic_sizes(groups: Iterable[Group]) -> Counter[str]:
    """Exchanges per topic; the topics seen first keep their own label, the rest share one.

    A ranking by size would move a topic between its own label and the shared one as others grow,
    and a counter must not fall.
    """
    sizes: Counter[str] = Counter()
    for group in sorted(groups, key=lambda group: group.first_id):
        known = group.topic in sizes or len(sizes) < MAX_TOPICS
        sizes[group.topic if known else OTHER_TOPICS] += group.size
    return sizes


def histogram(
    rows: Iterable[tuple[int | None, int, Decimal | None]], bounds: Sequence[Decimal]
) -> tuple[list[tuple[str, float]], float]:
    """Cumulative buckets and sum from rows of (bounds reached, size, sum of values)."""
    sizes = [0] * (len(bounds) + 1)
    total = Decimal(0)
    for bounds_reached, size, value in rows:
        if bounds_reached is not None and value is not None:
            sizes[len(bounds) - bounds_reached] += size
            total += value
    buckets: list[tuple[str, float]] = []
    running = 0
    for bound, size in zip([*map(str, bounds), "+Inf"], sizes, strict=True):
        running += size
        buckets.append((bound, running))
    return buckets, float(total)


def _counter(name: str, documentation: str, label: str, values: Counter[str]) -> Metric:
    counter = CounterMetricFamily(name, documentation, labels=[label])
    for value, count in sorted(values.items()):
        counter.add_metric([value], count)
    return counter
