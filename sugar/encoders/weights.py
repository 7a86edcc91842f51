"""Which weights a network has, as the provenance of a sample says it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sugar.encoders.hub import cached_commit


@dataclass(frozen=True)
class Weights:
    """A network by its name and its weights; as text "SOURCE@REVISION".

    Attributes:
        source: folder or hub id; digest: of a folder's files.
    """

    source: str
    digest: str = ""

    @property
    def revision(self) -> str:
        """Of a folder 12 digits of its digest, of a hub id the commit that was downloaded; empty for a hub id
        that is not here: ask when the network is loaded."""
        if Path(self.source).is_dir():
            return self.digest[:12]
        return (cached_commit(self.source) or "")[:12]

    def __str__(self) -> str:
        return f"{self.source}@{self.revision}" if self.revision else self.source


def made_with(kind: str, networks: Sequence[Weights]) -> str:
    """Provenance of what networks made: "KIND: SOURCE@REVISION, ..."; the kind alone without any."""
    return f"{kind}: {', '.join(map(str, networks))}" if networks else kind
