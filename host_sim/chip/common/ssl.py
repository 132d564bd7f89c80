"""`ssl` as a board's frozen ssl.py offers it, no kinder: certificate dates count by the RTC, and a session takes heap.

mbedTLS here asks the host's clock for the date; a board's asks its own, so each certificate's validity is held against
the simulated RTC as well. And mbedTLS here keeps its buffers (31 KB at the peak of a handshake) outside the VM's
heap; so that a limited heap is as tight as an RP2's, a session holds as much of it until it is closed, in pieces as
large: a record each way of MBEDTLS_SSL_IN_CONTENT_LEN and _OUT_CONTENT_LEN (extmod/mbedtls/mbedtls_config_common.h)
with 333 bytes around it (library/ssl_misc.h), the rest as certificates and bignums are.
"""

import io

import _family
import tls
from tls import (  # noqa: F401
    CERT_NONE,
    CERT_OPTIONAL,
    CERT_REQUIRED,
    MBEDTLS_VERSION,
    PROTOCOL_DTLS_CLIENT,
    PROTOCOL_DTLS_SERVER,
    PROTOCOL_TLS_CLIENT,
    PROTOCOL_TLS_SERVER,
)

_SHADOW = (16384 + 333, 4096 + 333) + (1024,) * 10 + (512,)  # bytes, 31 KB in all
# Values of MP_STREAM_... requests, py/stream.h.
_CLOSE = 4
_GET_FILENO = 10
_EINVAL = 22
# The words of mbedTLS, library/x509_crt.c.
_FUTURE = "The certificate validity starts in the future"
_EXPIRED = "The certificate validity has expired"


class SSLContext:
    def __init__(self, protocol):
        self._context = tls.SSLContext(protocol)
        self._context.verify_mode = CERT_NONE  # as frozen ssl.py has it, whatever tls itself begins with
        self._fault = None

    @property
    def verify_mode(self):
        return self._context.verify_mode

    @verify_mode.setter
    def verify_mode(self, mode):
        self._context.verify_mode = mode

    def load_cert_chain(self, certfile, keyfile):
        self._context.load_cert_chain(_content(certfile), _content(keyfile))

    def load_verify_locations(self, cafile=None, cadata=None):
        self._context.load_verify_locations(_content(cafile) if cafile else cadata)

    def wrap_socket(self, sock, server_side=False, do_handshake_on_connect=True, server_hostname=None):
        self._fault = None
        if self.verify_mode != CERT_NONE:
            self._context.verify_callback = self._verify
        shadow = [bytearray(size) for size in _SHADOW]
        try:
            wrapped = self._context.wrap_socket(
                sock,
                server_side=server_side,
                do_handshake_on_connect=do_handshake_on_connect,
                server_hostname=server_hostname,
            )
        except OSError:
            self._explain()
            raise
        return SSLSocket(wrapped, sock, self, shadow)

    def _verify(self, der, depth):
        first, last = _validity(der)
        now = _family.rtc_us() // 1000000 + _family.UNIX_EPOCH_OFFSET
        if now < first:
            self._fault = _FUTURE
        elif now > last:
            self._fault = _EXPIRED
        return 1 if self._fault else 0

    def _explain(self):
        """Raises what a board would if a date was the reason of the failure."""
        if self._fault:
            raise ValueError("\n" + self._fault + "\n")


class SSLSocket(io.IOBase):
    """A session over `sock`."""

    def __init__(self, wrapped, sock, context, shadow):
        self._wrapped = wrapped
        self._sock = sock
        self._context = context
        self._shadow = shadow

    def _do(self, method, args):
        try:
            return method(*args)
        except OSError:
            self._context._explain()
            raise

    def write(self, *args):
        return self._do(self._wrapped.write, args)

    def read(self, *args):
        return self._do(self._wrapped.read, args)

    def readinto(self, *args):
        return self._do(self._wrapped.readinto, args)

    def setblocking(self, flag):
        self._wrapped.setblocking(flag)

    def close(self):
        """As a board's: after a fault it leaves the socket below open."""
        self._shadow = None
        self._wrapped.close()

    def ioctl(self, request, arg):
        if request == _GET_FILENO:
            return self._sock.fileno()
        if request == _CLOSE:
            self.close()
            return 0
        return -_EINVAL


def _content(file):
    """Of a file named by a str; bytes stand for themselves."""
    if not isinstance(file, str):
        return file
    with open(file, "rb") as opened:
        return opened.read()


def _validity(der):
    """(notBefore, notAfter) of a certificate in Unix seconds (RFC 5280, 4.1: Certificate, TBSCertificate, Validity)."""
    at, _ = _enter(der, 0)  # Certificate
    at, _ = _enter(der, at)  # TBSCertificate
    if der[at] == 0xA0:  # version
        at = _skip(der, at)
    for _ in range(3):  # serialNumber, signature, issuer
        at = _skip(der, at)
    at, _ = _enter(der, at)  # Validity
    return _time(der, at), _time(der, _skip(der, at))


def _enter(der, at):
    """(where the content of the element at `at` begins, where it ends)."""
    length = der[at + 1]
    at += 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(der[at : at + count], "big")
        at += count
    return at, at + length


def _skip(der, at):
    return _enter(der, at)[1]


def _time(der, at):
    """UTCTime YYMMDDhhmmssZ (17h) or GeneralizedTime with four digits of a year (18h)."""
    start, end = _enter(der, at)
    text = bytes(der[start:end]).decode()
    if der[at] == 0x17:
        text = ("20" if int(text[:2]) < 50 else "19") + text
    year = int(text[:4])
    month, day, hour, minute, second = [int(text[i : i + 2]) for i in range(4, 14, 2)]
    # Days since 1970 in the proleptic Gregorian calendar, its years begun in March. (utime.mktime has the host's zone.)
    month -= 3
    if month < 0:
        month += 12
        year -= 1
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 1 - 719468
    return ((days * 24 + hour) * 60 + minute) * 60 + second
