"""Networks, volumes and containers of deploy.py and nothing else of it.

pyinfra inventory.py bench/containers.py -y
"""

from pyinfra import config, host

from roles.networks import networks
from stack.pyinfra import lock
from stack.pyinfra.connection import send_at_once
from stack.pyinfra.operations import converge
from stack.pyinfra.site import stack_of

stack = stack_of(host)
send_at_once(host)

lock.acquire(name="Lock the host")
config.SHELL = lock.SHELL

networks(stack)
for container in host.loop(stack.desired.containers):
    subject = f"container {container.name}"
    converge(name=subject.capitalize(), stack=stack, subject=subject)

lock.release(name="Unlock the host")
