"""The one budget file that all processes of a data folder share."""

import random

from ingest.clock import Clock
from ingest.config import Settings
from ingest.feed.budget_file import BudgetLimits, SharedBudget


def open_budget(settings: Settings, *, clock: Clock, rng: random.Random) -> SharedBudget:
    """Open it with the configured limits; the caller closes it."""
    limits = BudgetLimits(
        connects_per_5_min=settings.limits.connects_per_5_min, weight_per_min=settings.limits.weight_per_min
    )
    path = settings.service.data_dir / "run" / "address.budget"
    return SharedBudget(path, limits, clock=clock, rng=rng)
