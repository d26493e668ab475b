"""What the environment may say, and what ends the process."""

from __future__ import annotations

import pytest

from jobs.settings import DEVELOPMENT_SECRET, InvalidSettings, Settings


@pytest.mark.parametrize("environ", [{}, {"SECRET_KEY": ""}, {"SECRET_KEY": DEVELOPMENT_SECRET}])
def test_production_needs_a_secret_of_its_own(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="SECRET_KEY"):
        Settings.from_env({**environ, "ENVIRONMENT": "production"})
    assert Settings.from_env({"ENVIRONMENT": "production", "SECRET_KEY": "of-this-deployment-alone"}).production
