"""Opening a connection without waiting: TCP, then, if asked for, a TLS session over it."""

import errno
import select
import socket


class Dial:
    """A connection being opened; building it opens no socket.

    `sockaddr`: last element of a getaddrinfo() entry. `context`: an SSLContext or None; `hostname` is then checked
    against the certificate. The socket belongs to the caller once start() has returned it.
    """

    def __init__(self, sockaddr, context, hostname):
        self._sockaddr = sockaddr
        self._context = context
        self._hostname = hostname
        self._sock = self._plain = None
        self._poll = select.poll()
        self._connecting = True

    def start(self):
        """Makes a plain non-blocking socket, begins to connect it and returns it. OSError if there is no network."""
        self._sock = self._plain = socket.socket()
        try:
            self._sock.setblocking(False)
            self._poll.register(self._sock, select.POLLOUT)
            self._sock.connect(self._sockaddr)
        except OSError as error:
            if error.errno != errno.EINPROGRESS:
                self._sock.close()
                raise
        return self._sock

    def ready(self):
        """The socket that can now be written to, for TLS the one wrapped around the plain one; None if not yet.

        A connection that failed counts as ready: its first write raises the reason. The TLS handshake is still to be
        made then: the first writes make it. OSError or ValueError if the context refuses.
        """
        if self._connecting:
            if not self._poll.poll(0):
                return None
            self._poll.unregister(self._sock)
            self._connecting = False
            if self._context is not None:
                self._sock = self._context.wrap_socket(
                    self._sock, server_hostname=self._hostname, do_handshake_on_connect=False
                )
                self._sock.setblocking(False)
        return self._sock

    def close(self):
        """Closes what start() opened. An SSLSocket whose handshake failed no longer closes the socket below it."""
        if self._plain is not None:
            self._plain.close()

    def wants_write(self):
        """Whether the next step waits for writability; a TLS handshake waits for the peer's words."""
        return self._connecting or self._context is None
