"""MQTT: the connection that sources and publishers share."""
