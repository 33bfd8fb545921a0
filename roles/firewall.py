"""Only what the site opens is reachable from outside."""

from functools import partial

from pyinfra.api import deploy

from stack.machine.firewall import boot_tasks, nftables_tasks, removal_tasks, rules_tasks
from stack.pyinfra.firewall import KeepRules
from stack.pyinfra.machine import settle
from stack.pyinfra.site import Stack


@deploy("Firewall")
def firewall(stack: Stack) -> None:
    """Before Docker, so that nothing is ever published past it."""
    if not stack.site.firewall.enabled:
        settle(name="Take it away", stack=stack, plan=removal_tasks)
        return
    settle(name="nftables", stack=stack, plan=nftables_tasks)
    settle(
        name="Rules",
        stack=stack,
        plan=partial(rules_tasks, site=stack.site, keep=KeepRules()),
    )
    settle(name="At boot", stack=stack, plan=boot_tasks)
