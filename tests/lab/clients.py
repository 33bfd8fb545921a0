"""So many clients that write rows until /tmp/stop is there; prints the name of each row that
PostgreSQL acknowledged. Runs in the container of the Project API, with its password."""

import os
import random
import sys
import threading
from pathlib import Path

import psycopg

STOP = Path("/tmp/stop")
INSERT = (
    "INSERT INTO agent.exchanges (user_name, course, question, answer, sources, timings, outcome)"
    " VALUES ('client', 'clients', %s, '', '[]', '{}', 'completed')"
)


def write(number: int) -> None:
    chance, turn = random.Random(number), 0
    while not STOP.exists():
        try:
            with psycopg.connect(
                host=os.environ["POSTGRES_HOST"],
                dbname=os.environ["POSTGRES_DB"],
                user=os.environ["POSTGRES_USER"],
                password=Path(os.environ["POSTGRES_PASSWORD_FILE"]).read_text().strip(),
                connect_timeout=5,
                autocommit=True,
            ) as connection:
                for _ in range(chance.randint(5, 50)):
                    if STOP.exists():
                        return
                    turn += 1
                    name = f"{number}-{turn}"
                    connection.execute(INSERT, [name])
                    sys.stdout.write(f"{name}\n")
                    sys.stdout.flush()
        except psycopg.Error:
            continue


if __name__ == "__main__":
    workers = [threading.Thread(target=write, args=(n,)) for n in range(int(sys.argv[1]))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
