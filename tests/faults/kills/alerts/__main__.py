"""The script: ``python -m tests.faults.kills.alerts --seed 1 --kills 500``."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.kills.alerts.campaign import Campaign
from tests.faults.kills.alerts.forms import FORMS, PLAIN


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills.alerts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=500, help="How many kills, each in a way that chance chooses.")
    parser.add_argument("--form", choices=sorted(FORMS), default=PLAIN.name, help="How the node is set up.")
    parser.add_argument("--check-every", type=int, default=50, help="Kills between two comparisons of everything.")
    parser.add_argument("--folder", type=Path, help="Where everything is, and is left; else it is temporary.")
    given = parser.parse_args()
    if given.folder and given.folder.exists():
        parser.error(f"{given.folder} is there already; name a folder that is not")
    with tempfile.TemporaryDirectory() as temporary:
        return _kill(given.folder or Path(temporary) / "node", given)


def _kill(folder: Path, given: argparse.Namespace) -> int:
    began = time.monotonic()
    with Campaign(folder, given.seed, FORMS[given.form], say=_say) as campaign:
        for kill in range(1, given.kills + 1):
            campaign.kill()
            if kill % given.check_every == 0 or kill == given.kills:
                if wrong := campaign.settle():
                    print(*wrong, sep="\n")
                    return 1
                _say(f"{kill} kills in {time.monotonic() - began:.0f} s: {campaign.summary()}")
        for name, count in campaign.kills.most_common():
            _say(f"{count:5} {name}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
