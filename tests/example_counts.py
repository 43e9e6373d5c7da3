"""How many examples Hypothesis draws where a test needs more or fewer than the profile's."""

from hypothesis import settings


def examples(count: int) -> int:
    """The count in `make test-all`, and a fifth of it, at least 4, in `make test`."""
    return count if settings.get_current_profile_name() == "full" else max(4, count // 5)
