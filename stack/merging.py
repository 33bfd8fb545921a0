"""Layers of site data become one; a network that moves takes along what stands in it."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

Data = dict[str, Any]


def merge(*layers: Mapping[str, Any]) -> Data:
    """Merge layers of site data, later ones first in rank; only dictionaries are merged."""
    merged: Data = {}
    for layer in layers:
        for key, value in layer.items():
            before = merged.get(key)
            if isinstance(before, Mapping) and isinstance(value, Mapping):
                merged[key] = merge(before, value)
            else:
                merged[key] = value
    return merged


def merge_site(*layers: Mapping[str, Any]) -> Data:
    """Merge layers as :func:`merge` does.

    Where a layer changes a network's subnet, the gateway, the dynamic range and every address that
    the layers below have in it move along: each keeps its number in the network, the range its
    share of it.
    """
    merged: Data = {}
    for layer in layers:
        for name, subnet in _subnets(layer).items():
            before = _subnets(merged).get(name)
            if before and before != subnet:
                merged = merge(merged, _moved(merged, name, before, subnet))
        merged = merge(merged, layer)
    return merged


def _subnets(data: Mapping[str, Any]) -> dict[str, IPv4Network]:
    """The subnets that can be read; what is wrong with the others is said by the validation."""
    subnets = {}
    for name, network in _mapping(data, "networks").items():
        if (subnet := _network(_mapping({"": network}, "").get("subnet"))) is not None:
            subnets[name] = subnet
    return subnets


def _moved(data: Data, name: str, before: IPv4Network, after: IPv4Network) -> Data:
    """What changes in ``data`` when the network ``name`` gets another subnet."""
    network = _mapping(_mapping(data, "networks"), name)
    moved: Data = {}
    gateway = _address(network.get("gateway"))
    if gateway is not None and gateway in before:
        moved["gateway"] = _move(gateway, before, after)
    dynamic = _network(network.get("dynamic_range"))
    if dynamic is not None and dynamic.subnet_of(before):
        moved["dynamic_range"] = _share(dynamic, before, after)
    services = {
        service: {"addresses": {name: _move(address, before, after)}}
        for service, settings in _mapping(data, "services").items()
        if (address := _address(_mapping(settings, "addresses").get(name))) is not None
        and address in before
    }
    return {"networks": {name: moved}, "services": services}


def _move(address: IPv4Address, before: IPv4Network, after: IPv4Network) -> str:
    number = int(address) - int(before.network_address)
    return str(IPv4Address(min(int(after.network_address) + number, 2**32 - 1)))


def _share(dynamic: IPv4Network, before: IPv4Network, after: IPv4Network) -> str:
    """The same part of the new subnet, such as its upper half."""
    prefix = min(dynamic.prefixlen + after.prefixlen - before.prefixlen, 32)
    offset = int(dynamic.network_address) - int(before.network_address)
    start = int(after.network_address) + offset * after.num_addresses // before.num_addresses
    return f"{IPv4Address(start)}/{prefix}"


def _mapping(data: Any, key: str) -> Mapping[str, Any]:
    value = data.get(key) if isinstance(data, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _network(value: Any) -> IPv4Network | None:
    try:
        return IPv4Network(value)
    except (ValueError, TypeError):
        return None


def _address(value: Any) -> IPv4Address | None:
    try:
        return IPv4Address(value)
    except (ValueError, TypeError):
        return None
