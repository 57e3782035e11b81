"""Creates or updates the JetStream streams and consumers. Run at provisioning, never by a service that starts."""

from nats.js import api
from nats.js.errors import NotFoundError

from libs.bus.connection import Bus
from libs.contract.streams import LastValueStream, WorkStream


async def provision(bus: Bus, streams: tuple[WorkStream | LastValueStream, ...], *, replicas: int = 1) -> None:
    """Makes the server's streams and their consumers equal to the contract's. Idempotent.

    `replicas`: how many servers of a cluster hold each stream. Raises `nats.errors.Error` if the server refuses.
    """
    jetstream = bus.jetstream(timeout=10)
    for stream in streams:
        config = _work_config(stream) if isinstance(stream, WorkStream) else _last_value_config(stream)
        config.num_replicas = replicas
        try:
            await jetstream.stream_info(stream.name)
        except NotFoundError:
            await jetstream.add_stream(config)
        else:
            await jetstream.update_stream(config)
        if isinstance(stream, WorkStream):
            await jetstream.add_consumer(stream.name, _consumer_config(stream))


def _last_value_config(stream: LastValueStream) -> api.StreamConfig:
    return api.StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_msgs_per_subject=1,
        max_bytes=stream.max_bytes,
        max_msg_size=stream.max_message_bytes,
        max_age=stream.max_age_seconds,
        # Read from any replica, and without the base64 of the other way.
        allow_direct=True,
    )


def _work_config(stream: WorkStream) -> api.StreamConfig:
    return api.StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=api.RetentionPolicy.WORK_QUEUE,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW,
        max_bytes=stream.max_bytes,
        max_msg_size=stream.max_message_bytes,
        duplicate_window=stream.duplicate_window_seconds,
    )


def _consumer_config(stream: WorkStream) -> api.ConsumerConfig:
    return api.ConsumerConfig(
        durable_name=stream.consumer,
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=stream.ack_wait_seconds,
        # No limit here: at the limit the server would keep the message for ever and tell nobody. Attempts are
        # counted in the database.
        max_deliver=-1,
        max_ack_pending=stream.max_ack_pending,
    )
