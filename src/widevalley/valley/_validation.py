"""The words of every refusal of a number: its name, its value, what is allowed."""


def check_positive(**settings: float) -> None:
    """Raise ValueError unless all are above 0."""
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name}={value}: must be above 0")


def check_at_least(least: int, **settings: int) -> None:
    """Raise ValueError unless all are `least` or more."""
    for name, value in settings.items():
        if value < least:
            raise ValueError(f"{name}={value}: must be at least {least}")
