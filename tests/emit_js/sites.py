"""A site of somebody else, whose pages a test writes."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site(ThreadingHTTPServer):
    """Answers one page, wherever it is asked for."""

    page = b""


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Site)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)

    def log_message(self, format: str, *args: object) -> None:
        """Tests tell what they expect."""


def serve(site: Site, *html: str) -> None:
    """Let that be the site's page from now on."""
    site.page = "\n".join(("<!doctype html><title>A page</title>", *html)).encode()


def origin(site: Site) -> str:
    """The site as browsers write it."""
    return f"http://localhost:{site.server_address[1]}"
