"""What the servers send and take, as far as it is used here."""

from typing import Any

import msgspec

__all__ = ["Applications", "Info", "Listing", "One", "Port", "decode_info", "encode"]

encode = msgspec.json.Encoder().encode


class Port(msgspec.Struct, frozen=True):
    """A port, and whether it is in use."""

    number: int = msgspec.field(name="$", default=0)
    enabled: str | bool = msgspec.field(name="@enabled", default="false")

    @property
    def is_enabled(self) -> bool:
        return str(self.enabled).lower() == "true"


class DataCenter(msgspec.Struct, frozen=True):
    """Where an instance is; on Amazon its metadata has the availability zone."""

    metadata: dict[str, Any] = {}


class Info(msgspec.Struct, rename="camel"):
    """An instance. Two are equal when all that is used here is; timestamps of a lease are not."""

    instance_id: str = ""
    host_name: str = ""
    ip_addr: str = ""
    app: str = ""
    vip_address: str = ""
    status: str = "UNKNOWN"
    overridden_status: str = "UNKNOWN"
    port: Port = Port()
    secure_port: Port = Port()
    data_center_info: DataCenter = DataCenter()
    metadata: dict[str, str | None] = {}
    last_dirty_timestamp: int = 0
    last_updated_timestamp: int = 0
    """When the server last took a change of it, by its clock; a heartbeat is none."""
    action_type: str | None = None

    @property
    def id(self) -> str:
        """Clients of old have none, and are told apart by their hosts."""
        return self.instance_id or self.host_name


class _Stub(msgspec.Struct, rename="camel"):
    instance_id: str = ""
    host_name: str = ""
    status: str = "UNKNOWN"
    action_type: str | None = None


class One(msgspec.Struct):
    """The answer to a question for one instance."""

    instance: Info


class Application(msgspec.Struct):
    """A service, and its instances as they came."""

    name: str = ""
    instance: list[msgspec.Raw] = []


class Applications(msgspec.Struct):
    """A list, or the changes of the last minutes.

    `version` is that of the changes: it grows, and starts anew with the server. `hashcode` counts the
    instances of each status in the whole list: "DOWN_1_UP_2_".
    """

    version: int = msgspec.field(name="versions__delta", default=0)
    hashcode: str = msgspec.field(name="apps__hashcode", default="")
    application: list[Application] = []

    def infos(self) -> list[Info]:
        """The instances. For thousands that takes a while: call it off the loop."""
        found: list[Info] = []
        for application in self.application:
            for raw in application.instance:
                info = decode_info(raw)
                if info is not None:
                    info.app = application.name.upper()
                    found.append(info)
        return found


class Listing(msgspec.Struct):
    """What a server answers to a question for its list."""

    applications: Applications


# Not strict: long numbers are strings.
_info = msgspec.json.Decoder(Info, strict=False).decode
_stub = msgspec.json.Decoder(_Stub, strict=False).decode


def decode_info(raw: msgspec.Raw) -> Info | None:
    """An instance; of one with unusable fields only what it is counted by; None where even that lacks."""
    try:
        return _info(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        stub = _stub(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Info(
        instance_id=stub.instance_id or stub.host_name, status=stub.status, action_type=stub.action_type
    )
