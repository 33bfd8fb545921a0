"""One sentence for each mistake in site data, beginning with the path of the value."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

_SHOULD_BE = {
    "model_type": "should be a dictionary",
    "dict_type": "should be a dictionary",
    "list_type": "should be a list",
    "string_type": "should be text",
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be True or False",
    "ip_v4_address": "should be an IPv4 address such as 172.22.0.9",
    "ip_v4_network": "should be an IPv4 network such as 172.22.0.0/16",
}


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` where a known name is near, else nothing."""
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def sentence(model: type[BaseModel], detail: Mapping[str, Any], also: Iterable[str] = ()) -> str:
    """The sentence for one of pydantic's errors about ``model``.

    ``also`` are names that are known at the top beside the model's own.
    """
    location, wrong = detail["loc"], detail["input"]
    context = detail.get("ctx", {})
    # Pydantic calls the key of a dictionary so, where not its value is wrong.
    path = ".".join(str(part) for part in location if part != "[key]")
    match detail["type"]:
        case "extra_forbidden":
            known = set(_fields(model, location[:-1]))
            if len(location) == 1:
                known |= set(also)
            return f"{path}: unknown key{nearest(str(location[-1]), known)}"
        case "unknown_key":
            return (
                f"{path}.{context['key']}: unknown key{nearest(context['key'], context['known'])}"
            )
        case "missing":
            return f"{path}: is missing"
        case "value_error":
            return f"{path}: {context['error']}"
        case "literal_error":
            return f"{path}: should be {context['expected']}, not {wrong!r}"
        case "greater_than":
            return f"{path}: should be more than {context['gt']:g}, not {wrong!r}"
        case "greater_than_equal":
            return f"{path}: should be {context['ge']:g} or more, not {wrong!r}"
        case "less_than_equal":
            return f"{path}: should be {context['le']:g} or less, not {wrong!r}"
        case "too_short":
            return f"{path}: is empty; name at least one"
        case kind if kind in _SHOULD_BE:
            return f"{path}: {_SHOULD_BE[kind]}, not {wrong!r}"
        case _:
            text = detail["msg"]
            return f"{path}: {text[0].lower()}{text[1:]}, not {wrong!r}"


def _fields(model: type[BaseModel], location: tuple[Any, ...]) -> Iterator[str]:
    """The keys that are known at ``location`` of the model."""
    if not location:
        yield from model.model_fields
        return
    field = model.model_fields.get(str(location[0]))
    if field is None:
        return
    rest = location[1:]
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            yield from _fields(candidate, rest if candidate is field.annotation else rest[1:])
