"""What a check says: a line when it passes, a reason when it fails or cannot run."""


class Failure(Exception):
    """The subject did not do what it must."""


class Missing(Exception):
    """The check could not run here; the text says what to install."""
