"""Runs of pyinfra inside this process: as ``pyinfra`` itself, with the result as values."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra.api import Config, Host, State
from pyinfra.api.connect import disconnect_all
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state
from pyinfra_cli.exceptions import CliError, UnexpectedExternalError
from pyinfra_cli.log import setup_logging
from pyinfra_cli.util import exec_file

from stack.pyinfra.inventory import hosts_of, load_inventory
from stack.pyinfra.planned import Announcement, announced, has_announced, noted
from stack.tasks import Task

Work = Callable[[], None]


@dataclass(frozen=True)
class HostPlan:
    """What a deploy would do on a host, or the sentence that says why that is not known.

    ``notes`` belong to the plan and change nothing.
    """

    host: str
    steps: tuple[Announcement, ...] = ()
    error: str = ""
    notes: tuple[str, ...] = ()


class _Errors(logging.Handler):
    """Keeps what pyinfra says about failures."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def about(self, host: Host) -> str:
        prefix = host.print_prefix
        return "\n".join(line.removeprefix(prefix) for line in self.lines if prefix in line)


@dataclass
class Run:
    """A run on the hosts of one site: each is prepared on its own, whatever happens to the others.

    ``failures`` maps a host's name to the sentence that says why its preparation ended.
    """

    state: State
    hosts: list[Host]
    failures: dict[str, str]

    def execute(self) -> bool:
        """Carry out what was prepared, on every host that could be; whether all went well."""
        self.state.set_stage(StateStage.Execute)
        if self.state.active_hosts:
            try:
                run_ops(self.state)
            except PyinfraError:
                return False
        return not self.failures and not self.state.failed_hosts


@contextmanager
def prepared(
    site: str, root: Path, inventory: Path, work: Work, data: Mapping[str, Any] | None = None
) -> Iterator[Run]:
    """Connect to the hosts of ``site`` and detect what ``work``, called for each, would change.

    ``work`` calls operations as a deploy file does. Raises SiteError when there is no such site.
    """
    loaded = load_inventory(inventory, root, data)
    hosts = hosts_of(site, loaded)
    state, config = State(check_for_changes=True), Config()
    state.cwd = str(root)
    state.init(loaded, config, initial_limit=hosts)
    errors = _Errors()
    logger.addHandler(errors)
    logger.propagate = False
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    run = Run(state, hosts, {})
    try:
        with ctx_state.use(state), ctx_config.use(config), ctx_inventory.use(loaded):
            state.set_stage(StateStage.Connect)
            _each(run, errors, lambda host: _connect(state, host))
            state.set_stage(StateStage.Prepare)
            _each(run, errors, lambda host: _prepare(config, host, work))
            try:
                yield run
            finally:
                disconnect_all(state)
    finally:
        logger.removeHandler(errors)


def _connect(state: State, host: Host) -> None:
    host.connect(show_errors=False, raise_exceptions=True)
    state.activate_host(host)


def _prepare(config: Config, host: Host, work: Work) -> None:
    with ctx_config.use(config.copy()), ctx_host.use(host):
        work()


def _each(run: Run, errors: _Errors, step: Callable[[Host], None]) -> None:
    """Take a step on all hosts at once; one that fails is left out from there on."""

    def attempt(host: Host) -> None:
        try:
            step(host)
            failed = host in run.state.failed_hosts
            sentence = errors.about(host) if failed else ""
        except ConnectError as error:
            failed, sentence = True, f"cannot be reached: {error}"
        except UnexpectedExternalError as error:
            failed, sentence = True, f"{type(error.exception).__name__}: {error.exception}"
        except (PyinfraError, CliError) as error:
            failed, sentence = True, errors.about(host) or str(error)
        if failed:
            run.failures[host.name] = sentence or "could not be observed"
            run.state.active_hosts.discard(host)

    waiting = [host for host in run.hosts if host.name not in run.failures]
    for greenlet in [run.state.pool.spawn(attempt, host) for host in waiting]:
        greenlet.get()


def talk() -> None:
    """Show what runs say from now on, as the ``pyinfra`` command does."""
    setup_logging(logging.INFO)


def changes_something(run: Run, host: Host) -> bool:
    """Whether what was prepared for ``host`` would change it."""
    return run.state.get_meta_for_host(host).ops_change > 0


def rehearse(
    site: str, root: Path, inventory: Path, data: Mapping[str, Any] | None = None
) -> list[HostPlan]:
    """What deploy.py would do on each host of ``site``; changes nothing.

    Raises SiteError when there is no such site. What fails on a host is in its plan.
    """
    deploy = str(root / "deploy.py")
    with prepared(site, root, inventory, lambda: exec_file(deploy), data) as run:
        return [_plan(run, host) for host in run.hosts]


def _plan(run: Run, host: Host) -> HostPlan:
    if host.name in run.failures:
        return HostPlan(host.name, error=run.failures[host.name])
    steps = [*announced(host)]
    for operation in host.op_hash_order:
        meta = run.state.get_op_data_for_host(host, operation).operation_meta
        if meta.will_change and not has_announced(host, operation):
            name = ", ".join(sorted(run.state.get_op_meta(operation).names))
            steps.append(Task(name, "change", "differs", ()))
    return HostPlan(host.name, tuple(steps), notes=tuple(noted(host)))
