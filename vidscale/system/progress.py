"""How a running job tells how far it is. The command line draws it; by default nothing is told."""


class Progress:
    """Receives what a job tells; every method may be called from a worker thread.

    A method may raise to end the job: that is how an interrupted run stops between two frames.
    """

    def start(self, task: str, total: int | None, unit: str = "frames") -> None:
        """A part of the job begins; ``total`` is how many units it has, None when nobody knows."""

    def advance(self) -> None:
        """One more unit is done."""

    def note(self, text: str) -> None:
        """One line that a person should read."""
