from ipaddress import ip_address, ip_network

from lab.host import interface
from lab.settings import CONTROLLER, DEFAULT_HOST, HOSTS, PREFIX_LENGTH


def test_hosts_have_their_own_addresses_in_the_lab_network() -> None:
    network = ip_network(f"{CONTROLLER}/{PREFIX_LENGTH}", strict=False)
    addresses = [CONTROLLER, *(host.address for host in HOSTS.values())]
    assert all(ip_address(address) in network for address in addresses)
    assert len(set(addresses)) == len(addresses)
    assert DEFAULT_HOST in HOSTS


def test_hosts_have_their_own_interfaces() -> None:
    names = {interface(host) for host in HOSTS.values()}
    assert len(names) == len(HOSTS)
    assert all(len(name) <= 15 for name in names)
