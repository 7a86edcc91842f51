"""Random numbers of a sample: a pure function of the run's seed and the sample's key."""

import hashlib


def key_seed(seed: int, key: str, purpose: str) -> int:
    """63-bit seed of (seed, key, purpose): the same in every process, unrelated for two purposes."""
    digest = hashlib.blake2b(f"{seed}\x1f{key}\x1f{purpose}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
