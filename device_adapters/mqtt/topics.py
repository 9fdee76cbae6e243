"""MQTT's topic filters."""

import re

SHARED = "$share"
"""The first of two levels, before the topic, of a subscription that a group of gateways shares."""

LEVEL = r"(\+|[^/+#]*)"
TOPIC_FILTER = re.compile(
    rf"(\{SHARED}/[^/+#]+/|(?!\{SHARED}(/|$)))(?=.)(#|{LEVEL}(/{LEVEL})*(/#)?)"
)
"""MQTT 3.1.1, 4.7, and of MQTT 5, 4.8.2, the shared subscriptions."""


def check_topic_filter(topic: str) -> None:
    """Check that a topic can be subscribed to.

    Raises:
        ValueError: it can't.
    """
    if TOPIC_FILTER.fullmatch(topic) is None:
        raise ValueError(
            f"{topic!r} is no topic filter: '+' and '#' are whole levels, '#' only the last; "
            f"{SHARED}/<group>/ may stand before it"
        )


def published_topic(topic: str) -> str:
    """Return the topic that messages come on, without the group that shares them."""
    levels = topic.split("/", 2)
    return levels[2] if levels[0] == SHARED and len(levels) == 3 else topic
