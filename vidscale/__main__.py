"""``python -m vidscale``, and the program ``vidscale``."""

import sys

from vidscale.errors import reason_of


def main() -> None:
    """Runs the command line; Ctrl-C also works while it is still being imported."""
    try:
        from vidscale.cli import main as run

        run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:  # outside of commands: help that cannot be printed
        print(f"vidscale: {reason_of(error)}", file=sys.stderr)
        sys.stdout = None  # or the interpreter would flush it again at exit
        sys.exit(1)


if __name__ == "__main__":
    main()
