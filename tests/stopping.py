"""A progress that stops the work after some steps."""


class Stop:
    """Raises StopIteration at the `after`-th step."""

    def __init__(self, after):
        self.left = after

    def start(self, *_):
        pass

    def advance(self):
        self.left -= 1
        if not self.left:
            raise StopIteration
