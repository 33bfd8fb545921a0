"""What every other role needs on the host."""

from functools import partial

from pyinfra import host
from pyinfra.api import deploy

from stack.machine.base import UNATTENDED, clock_tasks, journal_tasks, sysctl_tasks, tool_tasks
from stack.machine.files import file_tasks
from stack.pyinfra.machine import settle, sources_of
from stack.pyinfra.site import Stack


@deploy("Base")
def base(stack: Stack) -> None:
    """Upgrades that leave our packages alone come first: they may begin at any moment."""
    site, headers = stack.site, sources_of(host, stack).distribution.headers
    settle(
        name="Keep unattended upgrades from our packages",
        stack=stack,
        plan=partial(file_tasks, files=(UNATTENDED,)),
    )
    settle(
        name="Tools and kernel headers",
        stack=stack,
        plan=partial(tool_tasks, site=site, headers=headers),
    )
    settle(name="Clock", stack=stack, plan=clock_tasks)
    settle(name="Journal", stack=stack, plan=partial(journal_tasks, site=site))
    settle(name="Kernel settings", stack=stack, plan=partial(sysctl_tasks, site=site))
