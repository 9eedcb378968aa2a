"""Key derivation against the examples that Microsoft published."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from usmbd.protocol.crypto.encryption import make_sealer
from usmbd.protocol.crypto.kdf import Key, derive_keys
from usmbd.protocol.crypto.signing import make_signer
from usmbd.protocol.wire.negotiate_contexts import (
    AES_128_CCM,
    AES_128_GCM,
    AES_256_GCM,
    SIGNING_AES_CMAC,
    SIGNING_AES_GMAC,
    SIGNING_HMAC_SHA256,
)

# "SMB 2 and SMB 3 security in Windows 10", appendix: client's view, so what it calls
# EncryptionKey is our decryption key.
PREAUTH_HASH = bytes.fromhex(
    "0DD13628CC3ED218EF9DF9772D436D0887AB9814BFAE63A80AA845F36909DB79"
    "28622DDDAD522D9751640A459762C5A9D6BB084CBB3CE6BDADEF5D5BCE3C6C01"
)


def test_smb_3_0_keys_are_those_of_the_published_example() -> None:
    keys = derive_keys(
        0x0300, bytes.fromhex("7CD451825D0450D235424E44BA6E78CC"), b"", b"", cipher=1
    )
    assert keys.signing.hex().upper() == "0B7E9C5CAC36C0F6EA9AB275298CEDCE"
    assert keys.decryption.hex().upper() == "FAD27796665B313EBB578F388632B4F7"
    assert keys.encryption.hex().upper() == "B0F0427F7CEB416D1D9DCC0CD4F99447"
    assert keys.application.hex().upper() == "BB23A4575AA26C721AF525AF15A87B4F"


def test_smb_3_1_1_keys_are_those_of_the_published_example() -> None:
    session_key = bytes.fromhex("270E1BA896585EEB7AF3472D3B4C75A7")
    keys = derive_keys(0x0311, session_key, session_key, PREAUTH_HASH, AES_128_GCM)
    assert keys.signing.hex().upper() == "73FE7A9A77BEF0BDE49C650D8CCB5F76"
    assert keys.decryption.hex().upper() == "629BCBC54422A0F572B97F45989B6073"
    assert keys.encryption.hex().upper() == "E2AF0DCEFAC68DA71A0DFBD0D1350D74"
    assert keys.application.hex().upper() == "6D7AD7954E9EC61E907B4D473DC178FF"


def test_aes_256_takes_the_full_session_key_for_the_ciphers_only() -> None:
    full = bytes(range(32))
    keys = derive_keys(0x0311, full[:16], full, PREAUTH_HASH, AES_256_GCM)

    def oracle(key: bytes, label: bytes, length: int) -> bytes:
        kdf = KBKDFHMAC(
            algorithm=hashes.SHA256(),
            mode=Mode.CounterMode,
            length=length,
            rlen=4,
            llen=4,
            location=CounterLocation.BeforeFixed,
            label=label,
            context=PREAUTH_HASH,
            fixed=None,
        )
        return kdf.derive(key)

    assert keys.encryption == oracle(full, b"SMBS2CCipherKey\0", 32)
    assert keys.decryption == oracle(full, b"SMBC2SCipherKey\0", 32)
    assert keys.signing == oracle(full[:16], b"SMBSigningKey\0", 16)
    assert keys.application == oracle(full[:16], b"SMBAppKey\0", 16)


def test_smb_2_signs_with_the_session_key_filled_up() -> None:
    keys = derive_keys(0x0210, b"short", b"short", b"", cipher=0)
    assert keys.signing == b"short".ljust(16, b"\0")
    assert keys.encryption == keys.decryption == b""


@pytest.mark.parametrize("dialect", [0x0202, 0x0302, 0x0311])
def test_keys_are_wiped_with_who_uses_them(dialect: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of OpenSSL refers to a key: when a session has ended nothing keeps it."""
    wiped = []

    def wipe(key: Key) -> None:
        unwiped(key)
        wiped.append(bytes(key))

    unwiped = Key.__del__
    monkeypatch.setattr(Key, "__del__", wipe)
    keys = derive_keys(dialect, bytes(range(16)), bytes(range(16)), bytes(64), AES_128_GCM)
    users: list[object] = [
        make_signer(algorithm, keys.signing)
        for algorithm in (SIGNING_HMAC_SHA256, SIGNING_AES_CMAC, SIGNING_AES_GMAC)
    ]
    if keys.encryption:
        users.append(make_sealer(AES_128_GCM, keys.encryption, keys.decryption))
        users.append(make_sealer(AES_128_CCM, keys.encryption, keys.decryption))
    del keys
    in_use = len(wiped)
    assert in_use <= 1  # the application's key is nobody's
    users.clear()
    assert len(wiped) - in_use == (3 if dialect > 0x0202 else 1)
    assert not any(map(any, wiped))
