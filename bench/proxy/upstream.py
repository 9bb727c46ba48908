"""The canned engines: nginx for rates, and the same nginx as the plain proxy that all are compared with.

nginx answers a POST from a file by way of the 405 that it would give. One port for each answer, since a
static answer can't depend on what was asked.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from bench.proxy import answers
from bench.proxy.processes import Process, free_port

NGINX = "nginx"
_HEAD = """\
{user}worker_processes {workers};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 1d;
  keepalive_requests 1000000000;
  open_file_cache max=16 inactive=1d;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
"""
_CANNED = """\
  server {{
    listen 127.0.0.1:{port} backlog=1024 reuseport;
    root {folder};
    default_type {type};
    location = /v1/chat/completions {{ error_page 405 =200 /{name}; }}
    location = /health {{ return 200 "ok"; }}
    location /v1/models {{ return 200 '{{"object":"list","data":[{{"id":"m","object":"model"}}]}}'; }}
    location / {{ }}
  }}
"""
_PASS = """\
  upstream u{port} {{ server 127.0.0.1:{to}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://u{port};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering {buffering};
    }}
  }}
"""


@dataclass
class Canned:
    """The prepared answers and the ports that they are behind."""

    folder: Path
    small_json: int = field(default_factory=free_port)
    small_stream: int = field(default_factory=free_port)
    large_json: int = field(default_factory=free_port)
    large_stream: int = field(default_factory=free_port)

    def start(self, on: set[int], workers: int = 1) -> Process:
        """Write the answers and serve them, by so many workers that share out new connections evenly."""
        files = {
            "small.json": (self.small_json, answers.whole(logprobs=False), "application/json"),
            "small.sse": (
                self.small_stream,
                b"".join(answers.events(logprobs=False, usage=False)),
                "text/event-stream",
            ),
            "large.json": (self.large_json, answers.whole(logprobs=True), "application/json"),
            "large.sse": (self.large_stream, b"".join(answers.events(logprobs=True)), "text/event-stream"),
        }
        config = _head(self.folder, workers)
        for name, (port, body, kind) in files.items():
            (self.folder / name).write_bytes(body)
            config += _CANNED.format(port=port, folder=self.folder, name=name, type=kind)
        # nginx looks for the asked path before it turns to the error page.
        asked = self.folder / "v1" / "chat" / "completions"
        asked.parent.mkdir(parents=True)
        asked.touch()
        process = _nginx("canned engine", self.folder, config, on)
        process.wait_for(self.small_json)
        return process


def passing(folder: Path, ports: dict[str, int], targets: dict[str, int], on: set[int]) -> Process:
    """nginx as a plain proxy: from one port to another, by kind; paced streams are not buffered."""
    config = _head(folder)
    for kind, port in ports.items():
        buffering = "off" if kind == "paced" else "on"
        config += _PASS.format(port=port, to=targets[kind], buffering=buffering)
    process = _nginx("nginx", folder, config, on)
    process.wait_for(ports["json"])
    return process


def _head(folder: Path, workers: int = 1) -> str:
    # Started by root, nginx's worker would be somebody else, who may not read a temporary folder.
    return _HEAD.format(folder=folder, workers=workers, user="user root;\n" if os.geteuid() == 0 else "")


def _nginx(name: str, folder: Path, config: str, on: set[int]) -> Process:
    written = folder / "nginx.conf"
    written.write_text(config + "}\n")
    command = [NGINX, "-c", str(written), "-p", str(folder)]
    return Process(name, command, log=folder / "said.log", on=on)
