"""``python -m vidscale``."""

from vidscale.cli import main

if __name__ == "__main__":
    main()
