"""The keys of a spool: what is written there under AES-256-GCM, where an operator gives a key.

Sealed bytes are a key's id (8 bytes), a nonce (12), and the ciphertext with its tag (16 more than what was
sealed). What they are about (a frame's kind, sequence, epoch and exchange) is authenticated with them, so
that no frame can stand for another. The first key writes, all of them read.

Nonces are random. That is safe for some four billion messages under one AES key, which busy proxies with a
common key would reach in weeks; so each epoch has an AES key of its own, derived from the operator's with
HMAC-SHA256, and the bound holds for one process's life. A counter would have no bound, but would repeat where
a machine is copied while it runs, and one repetition gives texts away.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # who has no key has no need of the package
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_SETTING, _FILE = "FLYWHEEL_SPOOL_KEY", "FLYWHEEL_SPOOL_KEY_FILE"
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_ID_BYTES, _NONCE_BYTES = 8, 12
_MOST_CIPHERS = 100


class KeyMissingError(RuntimeError):
    """Something is encrypted under a key that was not given. It is no damage: with the key it can be read."""

    def __init__(self, key_id: bytes, place: str = "the spool") -> None:
        super().__init__(
            f"{place} is encrypted under key {key_id.hex()}, which neither {_SETTING} nor {_FILE} gives"
        )
        self.key_id = key_id


class Keys:
    """An operator's keys, 32 bytes each, the one that writes first. Not for several threads at once."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises ValueError where they can't be used, without naming them."""
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see above
        except ImportError as error:
            raise ValueError(f"{_SETTING} needs the package cryptography: {error}") from error
        if not keys:
            raise ValueError(f"{_SETTING} or {_FILE} is set, and there is no key in it")
        self._cipher_of = AESGCM
        self._keys = {hmac.digest(key, b"flywheel spool key id", "sha256")[:_ID_BYTES]: key for key in keys}
        self._first = next(iter(self._keys))
        self._ciphers: dict[tuple[bytes, int], AESGCM] = {}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Keys of 64 hexadecimal digits, apart by commas, spaces or new lines. Raises ValueError."""
        found = text.replace(",", " ").split()
        if not all(_KEY.fullmatch(one) for one in found):
            raise ValueError(f"a key of {_SETTING} or {_FILE} is not 64 hexadecimal digits")
        return cls([bytes.fromhex(one) for one in found])

    @classmethod
    def from_environment(cls) -> Self | None:
        """FLYWHEEL_SPOOL_KEY, or what is in the file that FLYWHEEL_SPOOL_KEY_FILE names; None: neither is
        set. Raises ValueError: what was meant to be encrypted is never written plain.
        """
        given, path = os.environ.get(_SETTING), os.environ.get(_FILE)
        if given is not None and path is not None:
            raise ValueError(f"{_SETTING} and {_FILE} are both set; set one")
        if path is not None:
            try:
                given = Path(path).read_text(encoding="ascii")
            except (OSError, ValueError) as error:
                raise ValueError(f"{_FILE} can't be read: {error}") from error
        return None if given is None else cls.parse(given)

    @property
    def ids(self) -> list[str]:
        """What the keys are called in messages; they can't be guessed from it. The first one's writes."""
        return [key_id.hex() for key_id in self._keys]

    def seal(self, plain: bytes, about: bytes, epoch: int = 0) -> bytes:
        """Encrypt under the first key."""
        nonce = os.urandom(_NONCE_BYTES)
        return b"".join((self._first, nonce, self._cipher(self._first, epoch).encrypt(nonce, plain, about)))

    def open(self, sealed: bytes, about: bytes, epoch: int = 0) -> bytes:
        """What was sealed. Raises KeyMissingError, and ValueError for what was not sealed about this."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see above

        key_id, end = sealed[:_ID_BYTES], _ID_BYTES + _NONCE_BYTES
        if key_id not in self._keys:
            raise KeyMissingError(key_id)
        try:
            return self._cipher(key_id, epoch).decrypt(sealed[_ID_BYTES:end], sealed[end:], about)
        except InvalidTag as error:
            raise ValueError("what is encrypted is not what was written here") from error

    def _cipher(self, key_id: bytes, epoch: int) -> AESGCM:
        found = self._ciphers.get((key_id, epoch))
        if found is None:
            if len(self._ciphers) >= _MOST_CIPHERS:
                self._ciphers.clear()
            label = b"flywheel spool epoch" + epoch.to_bytes(8)
            found = self._cipher_of(hmac.digest(self._keys[key_id], label, "sha256"))
            self._ciphers[key_id, epoch] = found
        return found


def unseal(keys: Keys | None, sealed: bytes, about: bytes, epoch: int = 0) -> bytes:
    """As ``Keys.open``, for who may have no keys at all."""
    if keys is None:
        raise KeyMissingError(sealed[:_ID_BYTES])
    return keys.open(sealed, about, epoch)
