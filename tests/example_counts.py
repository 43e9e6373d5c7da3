"""The number of Hypothesis examples of a test that needs more or fewer than the profile draws."""

from hypothesis import settings


def examples(count: int, share: int = 5) -> int:
    """Return the count in `make test-all`, and one in `share` of it (at least 4) in `make test`."""
    return count if settings.get_current_profile_name() == "full" else max(4, count // share)
