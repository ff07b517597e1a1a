"""The script: ``python -m tests.faults.kills --seed 1 --kills 500``, or ``--power 100`` for losses of power."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.kills.blackouts import Blackouts
from tests.faults.kills.campaign import Campaign


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=500, help="How many kills, each in a way that chance chooses.")
    parser.add_argument("--real", type=float, default=0.3, help="The share of kills that hit `bers start`.")
    parser.add_argument(
        "--power", type=int, default=0, help="In place of kills: how many sessions with losses of power."
    )
    parser.add_argument("--images", type=int, default=3, help="How many losses of power there are in each of those.")
    parser.add_argument("--check-every", type=int, default=50, help="Kills or sessions between two comparisons.")
    parser.add_argument("--folder", type=Path, help="Where everything is, and is left; else it is temporary.")
    given = parser.parse_args()
    if given.folder and given.folder.exists():
        parser.error(f"{given.folder} is there already; name a folder that is not")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "node"
        return _lose_power(folder, given) if given.power else _kill(folder, given)


def _kill(folder: Path, given: argparse.Namespace) -> int:
    campaign, began = Campaign(folder, given.seed, say=_say), time.monotonic()
    for kill in range(1, given.kills + 1):
        campaign.kill(lean=campaign.rng.random() >= given.real)
        if kill % given.check_every == 0 or kill == given.kills:
            if wrong := campaign.settle():
                print(*wrong, sep="\n")
                return 1
            _say(f"{kill} kills in {time.monotonic() - began:.0f} s: {_summary(campaign)}")
    for name, count in campaign.kills.most_common():
        _say(f"{count:5} {name}")
    return 0


def _lose_power(folder: Path, given: argparse.Namespace) -> int:
    blackouts, began = Blackouts(folder, given.seed, say=_say), time.monotonic()
    for session in range(1, given.power + 1):
        wrong = blackouts.session(images=given.images)
        if session % given.check_every == 0 or session == given.power:
            wrong += blackouts.settle()
        if wrong:
            print(*wrong, sep="\n")
            return 1
    _say(
        f"power lost {blackouts.images} times in {time.monotonic() - began:.0f} s, with {blackouts.losses} changes not "
        f"synced: {_summary(blackouts)}"
    )
    return 0


def _summary(campaign: Campaign) -> str:
    truth = campaign.truth
    counted = sum(one.count for one in truth.windows.values())
    again = sum(emitter.repeated for emitter in campaign.emitters)
    transitions = sum(map(len, truth.alerts.values()))
    return (
        f"{len(truth.ids)} events, of which {counted} are measured in {len(truth.windows)} windows, {transitions} "
        f"transitions of alerts, {again} known when sent again; 0 lost, 0 counted twice"
    )


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
