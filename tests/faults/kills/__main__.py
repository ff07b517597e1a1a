"""The script: ``python -m tests.faults.kills --seed 1 --kills 500``."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.kills.campaign import Campaign


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=sys.modules["__main__"].__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--real", type=float, default=0.3, help="The share of kills that hit `bers start`.")
    parser.add_argument("--check-every", type=int, default=50, help="Kills between two comparisons with the truth.")
    parser.add_argument("--folder", type=Path, help="Where everything is, and is left; else it is temporary.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        campaign = Campaign(given.folder or Path(temporary), given.seed, say=lambda line: print(line, flush=True))
        began = time.monotonic()
        for kill in range(1, given.kills + 1):
            campaign.kill(lean=campaign.rng.random() >= given.real)
            if kill % given.check_every == 0 or kill == given.kills:
                if wrong := campaign.settle():
                    print(*wrong, sep="\n")
                    return 1
                counted = sum(one.count for one in campaign.truth.windows.values())
                again = sum(emitter.repeated for emitter in campaign.emitters)
                print(
                    f"{kill} kills in {time.monotonic() - began:.0f} s: {len(campaign.truth.ids)} events, of which "
                    f"{counted} are measured in {len(campaign.truth.windows)} windows, "
                    f"{sum(map(len, campaign.truth.alerts.values()))} transitions, {again} known when sent again; "
                    f"0 lost, 0 counted twice",
                    flush=True,
                )
        for name, count in campaign.kills.most_common():
            print(f"{count:5} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
