"""What a check says: a line when it passes, a reason when it fails or cannot run."""


class Failure(Exception):
    """The subject did not do what it must."""


class Theirs(Failure):
    """What is wrong is Apache's doing, and what it did is proven from its own files: see `docs/differences.md`.

    The check says nothing of the subject then, and is done again.
    """


class Missing(Exception):
    """The check could not run here; the text says what to install."""
