"""The model is served under its name, with the site's parameters, to who has the key."""

from collections.abc import Callable
from typing import Any

import pytest
import requests
from testinfra.host import Host

from stack.model import damaged_script, parse_state, state_script
from stack.secrets import SAIGA_API_KEY
from stack.site import Site
from stack.topology import model_of, model_path


def _ask(published: Callable[..., str], host: Host, path: str, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {host.check_output('cat %s', SAIGA_API_KEY.path)}"}
    url = f"{published('saiga')}{path}"
    answer = requests.request(
        "POST" if options else "GET", url, headers=headers, timeout=120, **options
    )
    answer.raise_for_status()
    return answer.json()


def test_model(published: Callable[..., str], host: Host, site: Site) -> None:
    (model,) = _ask(published, host, "/v1/models")["data"]
    assert model["id"] == site.saiga.served_name
    assert model["max_model_len"] == site.saiga.max_model_len
    assert model["root"] == model_path(site)


def test_its_files_are_whole(host: Host, site: Site) -> None:
    model = model_of(site)
    if model is None:
        pytest.skip("the image of Saiga holds the model")
    state = parse_state(host.check_output(state_script(model)).splitlines())
    assert state.complete
    assert state.wrong == ()
    assert host.check_output(damaged_script(model)) == ""


def test_a_completion(published: Callable[..., str], host: Host, site: Site) -> None:
    body = {"model": site.saiga.served_name, "prompt": "1 2 3", "max_tokens": 3}
    answer = _ask(published, host, "/v1/completions", json=body)
    assert answer["usage"]["completion_tokens"] >= 1


def test_sampling_defaults(published: Callable[..., str], host: Host, site: Site) -> None:
    """From the same seed, a request without parameters draws what one with the site's draws, and
    one with others does not."""

    def drawn(**parameters: float) -> str:
        body = {"model": site.saiga.served_name, "prompt": "1", "max_tokens": 24, "seed": 1}
        answer = _ask(published, host, "/v1/completions", json=body | parameters)
        return str(answer["choices"][0]["text"])

    asked = {"temperature": site.saiga.temperature, "top_p": site.saiga.top_p}
    assert drawn() == drawn(**asked) != drawn(temperature=2, top_p=1)


def test_nobody_asks_without_the_key(published: Callable[..., str]) -> None:
    assert requests.get(f"{published('saiga')}/v1/models", timeout=10).status_code == 401
