"""``python -m bers`` is ``bers``."""

from bers.cli import main

main()
