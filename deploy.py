"""The whole deployment: from a bare host to the running, monitored dialogue agent.

pyinfra inventory.py deploy.py            shows the plan, asks, deploys
pyinfra inventory.py deploy.py --dry      shows the plan only
pyinfra inventory.py deploy.py -y         deploys without asking
"""

from pyinfra import config, host

from roles.agent_exporter import agent_exporter
from roles.base import base
from roles.cuda_toolkit import cuda_toolkit
from roles.docker import docker
from roles.embeddings import embeddings
from roles.firewall import firewall
from roles.gpu_check import gpu_check
from roles.grafana import grafana
from roles.host_exporters import host_exporters
from roles.model import model
from roles.networks import networks
from roles.nvidia_container_toolkit import nvidia_container_toolkit
from roles.nvidia_driver import nvidia_driver
from roles.postgres import postgres
from roles.preflight import preflight
from roles.project_api import project_api
from roles.prometheus import prometheus
from roles.qdrant import qdrant
from roles.saiga import saiga
from roles.secrets import secrets
from roles.webbot2 import webbot2
from stack.pyinfra import lock
from stack.pyinfra.connection import send_at_once
from stack.pyinfra.site import stack_of

stack = stack_of(host)
send_at_once(host)

preflight(stack)
lock.acquire(name="Lock the host")
config.SHELL = lock.SHELL

base(stack)
nvidia_driver(stack)
cuda_toolkit(stack)
nvidia_container_toolkit(stack)
firewall(stack)
docker(stack)
secrets(stack)
networks(stack)

postgres(stack)
qdrant(stack)
model(stack)
saiga(stack)
embeddings(stack)
project_api(stack)
webbot2(stack)

agent_exporter(stack)
host_exporters(stack)
prometheus(stack)
grafana(stack)
gpu_check(stack)

lock.release(name="Unlock the host")
