"""``python -m bers_emit``: the command line where no scripts are installed."""

import sys

from bers_emit.cli import main

sys.exit(main())
