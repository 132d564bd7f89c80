"""What a broker may say, and when: each packet is held against what is awaited. No I/O."""

from mqtt import packet
from mqtt.error import MqttError


class Incoming:
    """The judge of one connection's packets from the broker.

    What is awaited: CONNACK first of all, then the acknowledgements in the list `awaited`, each its first byte << 16 |
    packet id, and a PINGRESP if `pinging`. After take() returned PUBLISH, `topic`, `topic_end` and `payload` are
    offsets into the view it was given, and `packet_id` that of a QoS 1 message, 0 for QoS 0.
    """

    def __init__(self):
        self.awaited = []
        self.topic = self.topic_end = self.payload = self.packet_id = 0
        self.clear()

    def clear(self):
        """Forgets everything: the next packet must be a CONNACK."""
        self.awaited.clear()
        self.pinging = self.greeted = False

    def take(self, first, view, body, end):
        """Judges the packet with the first byte `first` and the rest `view[body:end]`. Returns its type:
        CONNACK, PUBLISH, PUBACK, SUBACK or PINGRESP of `mqtt.packet`.

        MqttError: `refused` CONNACK with another code than 0, `denied` SUBACK with 80h, `protocol` for what is
        malformed, unexpected, or acknowledges what was never sent.
        """
        size = end - body
        if not self.greeted:
            # Bit 0 of the first byte says that a session was kept, which a clean session excludes.
            if first != packet.CONNACK or size != 2 or view[body]:
                raise MqttError("protocol", "%02Xh of %d bytes in place of CONNACK" % (first, size))
            code = view[body + 1]
            if code:
                reason = packet.REFUSALS[code] if code < len(packet.REFUSALS) else "not of MQTT 3.1.1"
                raise MqttError("refused", "CONNACK code %d, %s" % (code, reason))
            self.greeted = True
        elif first & 0xF0 == packet.PUBLISH:
            self._take_publish(first, view, body, end)
            return packet.PUBLISH
        elif first == packet.PINGRESP and size == 0 and self.pinging:
            self.pinging = False
        elif size == 3 and first == packet.SUBACK or size == 2 and first == packet.PUBACK:
            ack = first << 16 | view[body] << 8 | view[body + 1]
            if ack not in self.awaited:
                raise MqttError("protocol", "%02Xh acknowledges %d, which was not sent" % (first, ack & 0xFFFF))
            self.awaited.remove(ack)
            if size == 3 and view[body + 2] == 0x80:
                raise MqttError("denied", "SUBACK code 80h")
        else:
            raise MqttError("protocol", "unexpected packet %02Xh of %d bytes" % (first, size))
        return first

    def _take_publish(self, first, view, body, end):
        qos = first >> 1 & 3
        if qos > 1:
            raise MqttError("protocol", "PUBLISH with QoS %d, asked for at most 1" % qos)
        topic = body + 2
        topic_end = topic + (view[body] << 8 | view[body + 1]) if topic < end else end
        payload = topic_end + 2 * qos
        if payload > end or topic_end <= topic:
            raise MqttError("protocol", "PUBLISH of %d bytes does not hold its topic" % (end - body))
        self.topic, self.topic_end, self.payload = topic, topic_end, payload
        self.packet_id = view[topic_end] << 8 | view[topic_end + 1] if qos else 0
        if qos and not self.packet_id:
            raise MqttError("protocol", "PUBLISH of QoS 1 with packet id 0")
