"""The machine below the containers, of any site: Docker's packages and the kernel's settings."""

from testinfra.host import Host

from stack.gpu.packages import DISTRIBUTION_DOCKER, selection
from stack.site import Site


def test_docker_is_held_at_its_version(host: Host, site: Site) -> None:
    system = host.check_output('. /etc/os-release; echo "$ID$VERSION_ID"').replace(".", "")
    own = site.docker.source == "docker"
    wanted = (selection(system).docker if own else DISTRIBUTION_DOCKER).packages
    listed = host.check_output("dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n'")
    rows = (line.split() for line in listed.splitlines())
    held = {name: version for name, version, status in rows if status.startswith("hi")}
    assert {name: held.get(name) for name in wanted} == {
        name: version or held.get(name, "held at any version") for name, version in wanted.items()
    }


def test_the_kernel_has_its_settings(host: Host, site: Site) -> None:
    found = {name: str(host.sysctl(name)) for name in site.base.sysctls}
    assert found == site.base.sysctls
