"""What every test gets: the async runner, the database, Hypothesis profiles."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "pytester",
    "tests.plugin_async",
    "tests.plugin_database",
    "tests.plugin_schema",
    "tests.plugin_timescale",
    "tests.plugin_workers",
]

# Machines that run the tests are shared and slow, so no example has a time limit; a failure prints the
# blob that reproduces it. `ci` replaces the profile that Hypothesis brings, which would always try the
# same examples.
_COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _COMMON)
settings.register_profile("ci", _COMMON, max_examples=200)
settings.register_profile("thorough", _COMMON, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))
