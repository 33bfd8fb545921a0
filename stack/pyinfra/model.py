"""The operations on the language model: its files on the host, and the memory it takes."""

from dataclasses import replace
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, Host, State, operation
from pyinfra.api.command import PyinfraCommand

from stack.docker.apply import RemoteError
from stack.machine.checks import cards
from stack.model import Model, ModelError, parse_state, state_script
from stack.model import State as ModelState
from stack.model_delivery import Delivery, remove_command
from stack.model_memory import left_on_gpu, memory, stated
from stack.pyinfra.facts import ScriptFact
from stack.pyinfra.observations import machine, observed
from stack.pyinfra.operations import current_plan
from stack.pyinfra.planned import note
from stack.pyinfra.refuse import failed, refuse
from stack.pyinfra.remote import PyinfraRemote
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.site import SaigaSettings
from stack.tasks import Task
from stack.topology import model_of, model_path
from stack.values import GIB


class ModelFiles(ScriptFact[ModelState]):
    """Whether the revision lies on the host, whole by the sizes of its files."""

    @staticmethod
    def default() -> ModelState:
        return ModelState()

    def process(self, output: list[str]) -> ModelState:
        return parse_state(output)


class _Bring(PyinfraCommand):
    """Fetch a model; fails with its sentence."""

    def __init__(self, model: Model, state: ModelState) -> None:
        super().__init__()
        self.model, self.state = model, state

    def __repr__(self) -> str:
        return f"fetch {self.model.name} at {self.model.revision[:12]}"

    def execute(self, state: State, host: Host, connector_arguments: Any) -> bool:
        remote = PyinfraRemote(host, dict(connector_arguments), _nothing, _nothing, repr(self))
        try:
            Delivery(remote, self.model).bring(self.state)
        except (ModelError, RemoteError) as error:
            return failed(host, str(error))
        return True


def _nothing(*_: object) -> Any:
    raise NotImplementedError("a model's files have to do with no container")


@operation()
def model_files(stack: Stack) -> Commands:
    """
    Bring the site's model to the host, resumable and proven file by file.

    + stack: what has to stand on the host

    A half-finished download lies beside and is never served; another revision is fetched beside the
    one that serves.
    """
    model = model_of(stack.site)
    if model is None:
        return
    found = host.get_fact(ModelFiles, script=state_script(model))
    if found.complete and not found.wrong:
        return
    cause = f"differs: {', '.join(found.wrong)}" if found.wrong else "not found"
    subject = f"model {model.name} at {model.revision[:12]}"
    yield from carry_out(
        Task(subject, f"fetch from {model.source}", cause, (_Bring(model, found),))
    )


@operation()
def old_models(stack: Stack) -> Commands:
    """
    Remove revisions of the model that no container uses any more.

    + stack: what has to stand on the host
    """
    model = model_of(stack.site)
    if model is None or current_plan(host, stack).about(_saiga(stack)):
        return
    for revision in host.get_fact(ModelFiles, script=state_script(model)).others:
        command = remove_command(model, revision)
        subject = f"model {model.name} at {revision[:12]}"
        yield from carry_out(Task(subject, "remove", "the site has another revision", (command,)))


def _saiga(stack: Stack) -> str:
    return f"container {stack.site.services.saiga.container}"


class ModelShape(FactBase[tuple[int, str]]):
    """Bytes of the weights, and the text of config.json; nothing where the files are not yet."""

    def command(self, container: str, path: str) -> str:
        read = "stat -Lc 'weights %s' *.safetensors; echo; cat config.json"
        inside = f'docker exec {container} sh -c "cd {path} && {read}"'
        return f"{{ cd {path} && {read}; }} 2>/dev/null || {inside} 2>/dev/null || true"

    @staticmethod
    def default() -> tuple[int, str]:
        return 0, ""

    def process(self, output: list[str]) -> tuple[int, str]:
        weights = sum(int(line.split()[1]) for line in output if line.startswith("weights "))
        rest = [line for line in output if not line.startswith("weights ")]
        return weights, "\n".join(rest)


@operation()
def model_memory(stack: Stack) -> Commands:
    """
    Note in the plan what the model takes, and refuse a context that the card cannot hold.

    + stack: what has to stand on the host

    By the model's config.json or, before its files are there, by the site's own figures.
    """
    settings = stack.site.saiga
    below, containers = machine(host, stack), observed(host, stack)
    if not containers.stopped and not current_plan(host, stack).about(_saiga(stack)):
        host.noop("nothing changes about the model")
        return
    weights, config = host.get_fact(
        ModelShape, container=stack.site.services.saiga.container, path=model_path(stack.site)
    )
    shape = memory(config, weights, settings.max_model_len) or stated(settings)
    card = max(cards(below).values(), default=0)
    available = _available(stack.site.gpu, settings, shape.weights, card)
    shape = replace(shape, available=available)
    note(str(shape))
    if shape.contexts is not None and shape.contexts < 1:
        yield from refuse(
            f"saiga.max_model_len: a context of {settings.max_model_len} tokens needs"
            f" {shape.kv_per_token * shape.context / GIB:.2f} GiB of KV cache, but"
            f" {(available or 0) / GIB:.2f} GiB are left for it; lower it, or raise"
            " saiga.gpu_memory_utilization"
        )


def _available(gpu: str, settings: SaigaSettings, weights: int, card: int) -> int | None:
    if gpu == "none":
        space = settings.environment.get("VLLM_CPU_KVCACHE_SPACE")
        return int(float(space) * GIB) if space else None
    return left_on_gpu(card, settings.gpu_memory_utilization, weights) if card else None
