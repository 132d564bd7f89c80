"""The node's side of mutual TLS. Files, all DER: `ca` the cloud's authority, `cert` and `pkey` (PKCS #8) its own."""

import ssl

_CA = "ca"
_CERTIFICATE = "cert"
_KEY = "pkey"


def context():
    """An SSLContext that accepts only a server of our authority, and shows it who the node is.

    OSError when a file is missing, ValueError when mbedTLS cannot read one.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.verify_mode = ssl.CERT_REQUIRED  # frozen ssl.py begins with CERT_NONE
    made.load_verify_locations(_CA)
    made.load_cert_chain(_CERTIFICATE, _KEY)
    return made
