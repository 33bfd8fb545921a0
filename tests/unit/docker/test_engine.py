"""The model of an engine shows what the recorded engines show."""

import pytest

from stack.docker.fields import observed_fields
from tests.unit.docker.engine import perfect
from tests.unit.docker.hosts import ENGINES, recorded
from tests.unit.docker.recording import DESIRED


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [container.name for container in DESIRED.containers])
def test_the_model_agrees_with_the_recorded_container(name: str, engine: str) -> None:
    observed = recorded(engine)
    modelled = perfect(DESIRED, observed.images, is_modern=not engine.startswith("20."))
    image = observed.images[DESIRED.container(name).image]
    assert observed.engine
    assert modelled.engine
    assert observed_fields(modelled.containers[name], image, modelled.engine) == observed_fields(
        observed.containers[name], image, observed.engine
    )
