"""The one error of the MQTT client."""


class MqttError(OSError):
    """A fault of the connection, which is closed when this is raised.

    `what` is one word to count by:
      dial      no connection: refused, unreachable, no TLS, or not in time
      connack, ack, pingresp   that answer did not come in time; ack is SUBACK or PUBACK
      write     the peer took no byte in time
      packet    a packet was begun and not completed in time
      refused   CONNACK with a return code other than 0
      denied    SUBACK with 80h
      eof       the peer closed the connection
      oversize  a packet larger than the receive buffer
      protocol  something MQTT 3.1.1 does not allow
      socket    the network reported an error
      umqtt     umqtt.simple raised what it should not (UmqttClient)
      closed    the client was used without a connection
    `detail` says the rest in words.
    """

    def __init__(self, what, detail):
        super().__init__(what + ": " + detail)
        self.what = what
        self.detail = detail
