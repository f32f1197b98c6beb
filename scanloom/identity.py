"""Pseudonyms: salted hashes that stand for patients, series and files wherever a result, log or message names them.

The raw values stay below `private/`. A pseudonym says nothing without the salt (HMAC, RFC 2104), is the same on every
run with the same salt, and differs between data sets because the data set's name is hashed in as the namespace.
"""

import hashlib
import hmac
import secrets
from pathlib import Path

import pandas as pd

LENGTH = 16  # hexadecimal digits: 64 bits, so two of a million series collide with probability 3e-8


def pseudonym(salt: str, kind: str, namespace: str, value: str) -> str:
    """First 16 hex digits of HMAC-SHA256(salt, "kind|namespace|value")."""
    if not salt:
        raise ValueError("the salt for pseudonyms is empty: anyone could look up a patient id; give a secret text")
    for name, text in (("kind", kind), ("namespace", namespace)):
        if not text or "|" in text:
            raise ValueError(f"the {name} of a pseudonym must be non-empty and without '|'; got {text!r}")
    message = f"{kind}|{namespace}|{value}".encode()
    return hmac.digest(salt.encode(), message, "sha256").hex()[:LENGTH]


def pseudonyms(salt: str, kind: str, namespace: str, values: pd.Series) -> pd.Series:
    """The pseudonym of each value (each distinct one hashed once); same index, dtype str."""
    codes, distinct = pd.factorize(values.astype(str))
    hashed = pd.Series([pseudonym(salt, kind, namespace, value) for value in distinct.tolist()], dtype="str")
    if hashed.nunique() != len(hashed):
        raise ValueError(f"two different {kind} values have one pseudonym; change the salt")
    return pd.Series(hashed.to_numpy()[codes], index=values.index, dtype="str")


def item_ids(series_id: pd.Series, slice_index: pd.Series) -> pd.Series:
    """`<series_id>-<slice_index, four digits>`: the name of one image (slice) everywhere."""
    return (series_id.astype(str) + "-" + slice_index.astype(int).astype(str).str.zfill(4)).astype("str")


def chunk_of(series_id: str, chunks: int) -> int:
    """The chunk of a series: SHA-256 of its id modulo the number of chunks, so a new series moves no other."""
    if chunks < 1:
        raise ValueError(f"the number of chunks must be at least 1; got {chunks}")
    return int.from_bytes(hashlib.sha256(series_id.encode()).digest(), "big") % chunks


def study_salt(given: str | None, private: Path) -> str:
    """The study's salt: the configured one, else that of `private`/salt.txt, made at random the first time."""
    if given:
        return given
    path = Path(private) / "salt.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "x") as file:
            file.write(secrets.token_hex(16))
    except FileExistsError:
        pass
    return path.read_text().strip()
