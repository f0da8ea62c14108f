"""Bytes that wait in the kernel, by the port of our socket: read from tables as Linux writes them."""

from pathlib import Path

from ingest.supervisor.kernel import ReceiveQueues, waiting_bytes

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(port: int, waiting: int, *, state: str = "01", address: str = "0100007F") -> str:
    queues = f"00000000:{waiting:08X}"
    return (
        f"   0: {address}:{port:04X} 0200007F:01BB {state} {queues} 00:00000000 00000000  1000        0 1 1\n"
    )


def table(folder: Path, *lines: str, name: str = "tcp") -> Path:
    path = folder / name
    path.write_text(HEAD + "".join(lines))
    return path


def test_receive_queue_of_each_port_is_read(tmp_path: Path) -> None:
    """Of established connections; a listener on the same port is none."""
    path = table(tmp_path, line(40_001, 0), line(40_002, 90_000), line(40_002, 7, state="0A"))

    assert waiting_bytes([path]) == {40_001: 0, 40_002: 90_000}


def test_both_families_are_read(tmp_path: Path) -> None:
    """IPv6 has a table of its own; of a port in both the greater counts."""
    four = table(tmp_path, line(40_001, 5))
    six = table(tmp_path, line(40_001, 9), line(40_003, 1, address="0" * 32), name="tcp6")

    assert waiting_bytes([four, six]) == {40_001: 9, 40_003: 1}


def test_table_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    """A machine may be without IPv6."""
    assert waiting_bytes([table(tmp_path, line(40_001, 5)), tmp_path / "none"]) == {40_001: 5}


def test_nothing_is_known_without_any_table(tmp_path: Path) -> None:
    """Not Linux, or not allowed."""
    assert waiting_bytes([tmp_path / "none"]) is None
    queues = ReceiveQueues([tmp_path / "none"])
    queues.tick()

    assert queues.stuck_bytes(40_001) is None


def test_bytes_on_their_way_through_are_not_stuck(tmp_path: Path) -> None:
    """The least of the newest readings is what stays; older ones are forgotten."""
    queues = ReceiveQueues([tmp_path / "tcp"])
    stuck = []
    for waiting in (0, 900, 700, 800, 850):
        table(tmp_path, line(40_001, waiting))
        queues.tick()
        stuck.append(queues.stuck_bytes(40_001))

    assert stuck == [None, None, 0, 700, 700]


def test_port_without_a_connection_has_nothing_waiting(tmp_path: Path) -> None:
    """And no port at all is not known."""
    table(tmp_path, line(40_001, 5))
    queues = ReceiveQueues([tmp_path / "tcp"])
    assert queues.stuck_bytes(40_001) is None

    for _ in range(3):
        queues.tick()
    assert (queues.stuck_bytes(40_001), queues.stuck_bytes(40_009), queues.stuck_bytes(0)) == (5, 0, None)


def test_first_readings_are_too_few_to_say(tmp_path: Path) -> None:
    """Of one moment nobody can say what is on its way and what is stuck."""
    table(tmp_path, line(40_001, 5))
    queues = ReceiveQueues([tmp_path / "tcp"])
    queues.tick()
    queues.tick()

    assert queues.stuck_bytes(40_001) is None
