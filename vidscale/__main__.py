"""``python -m vidscale``, and the program ``vidscale``."""

import sys


def main() -> None:
    """Runs the command line; Ctrl-C ends it also while it is still being loaded."""
    try:
        from vidscale.cli import main as run

        run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:  # what commands do not meet themselves: help that cannot be printed
        print(f"vidscale: {error.strerror or error}", file=sys.stderr)
        sys.stdout = None  # it would be tried once more at the end
        sys.exit(1)


if __name__ == "__main__":
    main()
