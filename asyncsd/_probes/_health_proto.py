"""The two messages of grpc.health.v1, of a field each: no reason for a protobuf library."""

from ._output import ProbeError

__all__ = ["request", "serving_status"]

STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")

SERVICE = b"\x0a"
"""Field 1, written as its length and its bytes: https://protobuf.dev/programming-guides/encoding/"""


def request(service: str) -> bytes:
    """`HealthCheckRequest{string service = 1}`."""
    name = service.encode()
    return SERVICE + _varint(len(name)) + name if name else b""


def serving_status(message: bytes) -> str:
    """The name of `HealthCheckResponse{ServingStatus status = 1}`. ProbeError for what is no such message."""
    status = at = 0
    try:
        while at < len(message):
            tag, at = _read_varint(message, at)
            match tag & 7:
                case 0:  # a number
                    value, at = _read_varint(message, at)
                    if tag >> 3 == 1:
                        status = value
                case 1:  # 64 bits
                    at += 8
                case 2:  # bytes
                    length, at = _read_varint(message, at)
                    at += length
                case 5:  # 32 bits
                    at += 4
                case _:
                    raise IndexError
    except IndexError:
        text = "grpc: failed to unmarshal the received message"
        raise ProbeError(f"rpc error: code = Internal desc = {text}") from None
    return STATUSES[status] if status < len(STATUSES) else str(status)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends. IndexError if it doesn't."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte <= 0x7F:
            return number, at
