"""The server as a socket sees it: HTTP, connections, and what it never prints."""

import http.client
import json
import socket
import struct
import threading
import time
from itertools import pairwise

import pytest
from support.demo_client import DemoClient, DemoResponse, send_request

from aiml_cli.demo.server import MAX_BODY_BYTES, serve
from aiml_cli.errors import UsageError

BODY = json.dumps({"model": "demo/echo", "messages": [{"role": "user", "content": "Hi"}]}).encode()
STREAM_BODY = json.dumps({**json.loads(BODY), "stream": True}).encode()


def build_post(body: bytes, *headers: bytes, version: bytes = b"1.1") -> bytes:
    head = [b"POST /v1/chat/completions HTTP/" + version, b"Host: x", *headers]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", body])


def send_raw(demo: DemoClient, request: bytes) -> bytes:
    """Send bytes and read until the server closes."""
    with socket.create_connection(("127.0.0.1", demo.port), timeout=20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def wait_for_connections() -> None:
    """Wait until the server has closed every connection."""
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(20)


def assert_gateway_error(reply: DemoResponse, status: int, words: str) -> None:
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json; charset=utf-8"
    assert reply.json["status"] == status
    assert words in reply.json["message"]
    assert reply.json["error"]["message"] == reply.json["message"]
    assert reply.json.keys() == {"title", "status", "message", "instance", "requestId", "timestamp", "error"}


def test_the_url_has_the_loopback_address_and_v1(demo: DemoClient) -> None:
    assert demo.url == f"http://127.0.0.1:{demo.port}/v1"


def test_the_server_listens_on_no_other_address(demo: DemoClient) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", demo.port), timeout=5)


def test_starting_and_stopping_takes_less_than_two_seconds() -> None:
    started = time.monotonic()
    with serve():
        pass
    assert time.monotonic() - started < 2


def test_a_stopped_server_refuses_connections() -> None:
    with serve() as url:
        demo = DemoClient(url)
    with pytest.raises(ConnectionRefusedError):
        demo.get("/v1/models")


def test_a_port_in_use_is_a_usage_error(demo: DemoClient) -> None:
    with pytest.raises(UsageError, match=f"port {demo.port} cannot be used"), serve(demo.port):
        pass


def test_a_connection_stays_open_over_answers_streams_and_errors(demo: DemoClient) -> None:
    connection = demo.connect()
    connection.connect()
    first = connection.sock
    statuses = [
        send_request(connection, "POST", "/v1/chat/completions", BODY).status,
        send_request(connection, "POST", "/v1/chat/completions", STREAM_BODY).status,
        send_request(connection, "POST", "/v1/chat/completions", b"{").status,
        send_request(connection, "POST", "/v1/nowhere", BODY).status,
        send_request(connection, "HEAD", "/v1/models").status,
        send_request(connection, "GET", "/v1/models").status,
    ]
    assert statuses == [200, 200, 400, 404, 200, 200]
    assert connection.sock is first
    connection.close()


def test_two_requests_in_one_packet_get_two_answers(demo: DemoClient) -> None:
    answers = send_raw(demo, build_post(BODY) + build_post(BODY, b"Connection: close"))
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_every_event_of_a_stream_is_a_chunk_of_its_own(demo: DemoClient) -> None:
    head, _, body = send_raw(demo, build_post(STREAM_BODY, b"Connection: close")).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Length" not in head
    chunks = []
    while body:
        size, _, body = body.partition(b"\r\n")
        chunks.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    assert chunks.pop() == b""
    assert len(chunks) > 10
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in chunks)


def test_an_http_1_0_client_gets_the_stream_without_chunks(demo: DemoClient) -> None:
    head, _, body = send_raw(demo, build_post(STREAM_BODY, version=b"1.0")).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")


def test_a_chunked_body_is_read(demo: DemoClient) -> None:
    pieces = b"".join(b"%x;x=y\r\n%s\r\n" % (len(piece), piece) for piece in (BODY[:10], BODY[10:]))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answers = send_raw(demo, head + pieces + b"0\r\nTrailer: 1\r\n\r\n" + build_post(BODY, b"Connection: close"))
    assert answers.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("length", [b"-1", b"many", b"1.5"])
def test_an_invalid_content_length_is_refused_and_the_connection_closed(demo: DemoClient, length: bytes) -> None:
    answer = send_raw(demo, b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close" in answer
    assert b"The length of the body cannot be read" in answer


def test_a_body_beyond_the_size_limit_is_refused_unread(demo: DemoClient) -> None:
    answer = send_raw(
        demo, b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"title":"Payload Too Large"' in answer


@pytest.mark.parametrize(
    ("raw_request", "status"), [(b"nonsense\r\n\r\n", 400), (b"BREW /v1/tea HTTP/1.1\r\n\r\n", 501)]
)
def test_an_invalid_request_gets_an_error_in_the_format_of_the_gateway(
    demo: DemoClient, raw_request: bytes, status: int
) -> None:
    body = send_raw(demo, raw_request).partition(b"\r\n\r\n")[2] or send_raw(demo, raw_request)
    assert json.loads(body)["status"] == status


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/foo"), ("POST", "/v2/chat/completions"), ("DELETE", "/v1/models"), ("GET", "/v1/responses")],
)
def test_an_error_for_an_unknown_path_names_the_method_and_the_path(demo: DemoClient, method: str, path: str) -> None:
    assert_gateway_error(demo.send(method, path + "?a=b"), 404, f"Cannot {method} {path}")
    assert demo.send(method, path + "?a=b").json["instance"] == path


@pytest.mark.parametrize("header", ["Bearer bad-key", "Bearer ", "Bearer", "Basic abc", "abc", "Bearer two words"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_a_bad_key_is_refused(demo: DemoClient, header: str, path: str) -> None:
    assert_gateway_error(demo.send("POST", path, BODY, Authorization=header), 401, "Unauthorized")


def test_any_other_key_or_none_is_accepted(demo: DemoClient) -> None:
    assert demo.send("POST", "/v1/chat/completions", BODY, Authorization="Bearer x").status == 200
    assert demo.send("POST", "/v1/chat/completions", BODY).status == 200


def test_the_balance_is_under_v2_only(demo: DemoClient) -> None:
    assert demo.get("/v2/billing").json == {"current_balance": 12.5, "currency": "USD"}
    assert demo.get("/v1/v2/billing").status == 404
    assert demo.get("/v2/billing", Authorization="Bearer bad-key").status == 401


def test_a_valid_request_id_of_the_client_is_returned_and_an_invalid_one_is_not(demo: DemoClient) -> None:
    valid = demo.send("POST", "/v1/chat/completions", BODY, X_Client_Request_Id="mine-1")
    assert valid.headers["x-client-request-id"] == "mine-1"
    assert (
        "x-client-request-id"
        not in demo.send("POST", "/v1/chat/completions", BODY, X_Client_Request_Id="not valid").headers
    )


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_demo_cut_ends_a_stream_without_the_last_chunk(demo: DemoClient, path: str) -> None:
    body = {**json.loads(STREAM_BODY), "model": "demo/cut", "input": "Hi"}
    with pytest.raises(http.client.IncompleteRead) as fault:
        demo.post(path, body)
    assert b"delta" in fault.value.partial
    assert b"[DONE]" not in fault.value.partial
    assert b"response.completed" not in fault.value.partial


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_demo_cut_sends_less_than_its_content_length(demo: DemoClient, path: str) -> None:
    with pytest.raises(http.client.IncompleteRead) as fault:
        demo.post(path, {**json.loads(BODY), "model": "demo/cut", "input": "Hi"})
    assert len(fault.value.partial) > 100
    assert fault.value.expected
    assert fault.value.expected > 100


def test_demo_slow_streams_token_by_token(demo: DemoClient) -> None:
    with socket.create_connection(("127.0.0.1", demo.port), timeout=20) as connection:
        body = {**json.loads(STREAM_BODY), "model": "demo/slow", "max_tokens": 2}
        connection.sendall(build_post(json.dumps(body).encode()))
        moments = [time.monotonic()]
        while b"[DONE]" not in connection.recv(65536):
            moments.append(time.monotonic())
    assert len([1 for one, two in pairwise(moments) if two - one > 0.05]) >= 2


def test_demo_slow_delays_an_answer_without_a_stream(demo: DemoClient) -> None:
    started = time.monotonic()
    assert demo.chat("demo/slow", max_tokens=2).status == 200
    assert time.monotonic() - started > 0.15


def test_stopping_the_server_ends_a_slow_stream_at_once() -> None:
    with serve() as url:
        connection = DemoClient(url).connect()
        connection.request("POST", "/v1/responses", b'{"model": "demo/slow", "input": "Hi", "stream": true}')
        response = connection.getresponse()
    started = time.monotonic()
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    assert time.monotonic() - started < 1
    connection.close()


def test_a_connection_reset_by_the_client_leaves_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with serve() as url, socket.create_connection(("127.0.0.1", DemoClient(url).port), timeout=20) as connection:
        connection.sendall(build_post(json.dumps({**json.loads(STREAM_BODY), "model": "demo/slow"}).encode()))
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        connection.close()
        wait_for_connections()
    assert capfd.readouterr() == ("", "")


def test_nothing_is_logged(demo: DemoClient, capfd: pytest.CaptureFixture[str]) -> None:
    demo.chat()
    demo.get("/v1/nowhere")
    send_raw(demo, b"nonsense\r\n\r\n")
    assert capfd.readouterr() == ("", "")


def test_forty_concurrent_clients_are_all_answered(demo: DemoClient) -> None:
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(demo.chat(stream=True).status)) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 40
