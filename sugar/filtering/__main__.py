"""`python -m sugar.filtering`: thresholds for the given networks, chosen on labelled clips of Sprite World.

Prints what each refuses, and the precision and recall of all together (decision 0008).
"""

import argparse
import functools

from sugar.config import Filters
from sugar.filtering.labelled import labelled_sprites
from sugar.filtering.recalibration import proposal_text, propose
from sugar.filtering.scoring import load_judges, score_triplets


def main() -> None:
    """Parse the arguments, choose the thresholds, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m sugar.filtering", description=__doc__)
    parser.add_argument("--dino", default="foundation/sprites/dino", help="folder or hub id")
    parser.add_argument("--clip", default="foundation/sprites/clip", help="folder or hub id")
    parser.add_argument("--flow", default="dis", help="dis or raft")
    parser.add_argument("--num-clips", type=int, default=200, help="clips of each bad kind")
    parser.add_argument("--precision", type=float, default=0.75, help="wanted share of good among accepted")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        judges = load_judges(dino=given.dino, clip=given.clip, flow=given.flow)
        score = functools.partial(score_triplets, judges=judges)
        labelled = labelled_sprites(score, num_clips=given.num_clips, seed=given.seed)
        proposal = propose(labelled, given.precision, dict.fromkeys(Filters.model_fields))
    except ValueError as error:
        parser.error(str(error))
    print(proposal_text(proposal))


if __name__ == "__main__":
    main()
