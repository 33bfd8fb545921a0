"""What users would lose: rows in PostgreSQL and points in Qdrant."""

import shlex
from dataclasses import dataclass

from tests.lab.conftest import Lab

POINTS = "http://172.22.0.7:6333/collections/{label}{path}"


@dataclass(frozen=True)
class Data:
    """Rows and points under a label of their own."""

    lab: Lab
    label: str

    def write(self) -> None:
        """Anew: what an earlier run may have left goes first."""
        self.remove()
        self._sql(
            "INSERT INTO agent.exchanges (user_name, course, question, answer, sources, timings,"
            f" outcome) SELECT 'test', '{self.label}', 'question ' || n, md5(n::text), '[]',"
            " '{}', 'completed' FROM generate_series(1, 200) n"
        )
        points = ", ".join(f'{{"id": {n}, "vector": [{n}, 1, 0, {n % 7}]}}' for n in range(1, 101))
        self._qdrant("PUT", "", '{"vectors": {"size": 4, "distance": "Dot"}}')
        self._qdrant("PUT", "/points?wait=true", f'{{"points": [{points}]}}')
        rows, found = self.read()
        assert rows.startswith("200|") and found.count('"id"') == 100

    def read(self) -> tuple[str, str]:
        """A digest of the rows and the points: the same as long as none is lost or changed."""
        rows = self._sql(
            "SELECT count(*), md5(string_agg(concat_ws('|', id, created_at, question, answer), ','"
            f" ORDER BY id)) FROM agent.exchanges WHERE course = '{self.label}'"
        )
        points = self._qdrant("POST", "/points/scroll", '{"limit": 1000, "with_vector": true}')
        return rows, points.partition('"points"')[2].partition("]}]")[0]

    def remove(self) -> None:
        self._sql(f"DELETE FROM agent.exchanges WHERE course = '{self.label}'")
        self._qdrant("DELETE", "")

    def _sql(self, statement: str) -> str:
        psql = "docker exec ml_postgres psql -U postgres -d ml_db -qtAc"
        return self.lab.run(f"{psql} {shlex.quote(statement)}")

    def _qdrant(self, method: str, path: str, body: str = "{}") -> str:
        url = POINTS.format(label=self.label, path=path)
        return self.lab.qdrant(method, url, body)
