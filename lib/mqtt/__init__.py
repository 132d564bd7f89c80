"""A non-blocking MQTT 3.1.1 client for boards; DESIGN.md says why it is so. `mqtt.aio` waits for it in
asyncio.
"""

from mqtt.client import AUTH, CLOSED, DIAL, UP, Client
from mqtt.error import MqttError

__all__ = ("AUTH", "CLOSED", "DIAL", "UP", "Client", "MqttError")
