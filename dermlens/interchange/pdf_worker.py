"""The process that makes one PDF: `python -m dermlens.interchange.pdf_worker FD PAPER MEMORY SECONDS`."""

import resource
import socket
import sys
from pathlib import Path

from dermlens import sandbox
from dermlens.interchange.pdf import LENGTH, MOST_HTML, MOST_PDF, receive_sized

FONTS = Path(__file__).with_name("fonts")
_FAMILY = "Noto Sans"
_FACES = {"normal": "NotoSans-Regular.ttf", "bold": "NotoSans-Bold.ttf"}
_STYLE = """
@page {{ size: {paper}; margin: 16mm 15mm 18mm;
  @bottom-left {{ content: "Dermlens: decision support for research, not a diagnosis"; font: 8pt "{family}"; }}
  @bottom-right {{ content: "Page " counter(page) " of " counter(pages); font: 8pt "{family}"; }} }}
body {{ font-family: "{family}", sans-serif; font-size: 9.5pt; }}
"""


def work(control: socket.socket, paper: str) -> None:
    """Read the document, answer with the PDF."""
    html = receive_sized(control, MOST_HTML).decode()
    pdf = render(html, paper)
    control.sendall(len(pdf).to_bytes(LENGTH, "big") + pdf)


def render(html: str, paper: str) -> bytes:
    """Return a document as tagged PDF with its fonts inside. Nothing is fetched but those fonts and data: URLs."""
    from weasyprint import HTML
    from weasyprint.text.fonts import FontConfiguration
    from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse

    class Fetcher(URLFetcher):
        def fetch(self, url: str, headers: dict[str, str] | None = None) -> URLFetcherResponse:
            if url.startswith("data:") or url in allowed:
                return super().fetch(url, headers)
            raise FatalURLFetchingError(f"not part of the report: {url[:60]}")

    allowed = {(FONTS / name).as_uri() for name in _FACES.values()}
    fetcher, fonts = Fetcher(allowed_protocols=("data", "file")), FontConfiguration()
    faces = "".join(
        f'@font-face {{ font-family: "{_FAMILY}"; font-weight: {weight}; src: url("{(FONTS / name).as_uri()}"); }}'
        for weight, name in _FACES.items()
    )
    # Behind the report's own style: a sheet that is handed in from outside would stand before it.
    own = f"<style>{faces}{_STYLE.format(paper=paper.lower(), family=_FAMILY)}</style></head>"
    document = HTML(string=html.replace("</head>", own, 1), url_fetcher=fetcher, media_type="print")
    pdf = document.write_pdf(font_config=fonts, pdf_variant="pdf/ua-1", dpi=200)
    assert isinstance(pdf, bytes)
    return pdf


def _limit(memory: int, seconds: int) -> None:
    """Bound memory, computing time and files; dump no core, which would hold the report."""
    for which, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, MOST_PDF),  # fonts go through a temporary folder
        (resource.RLIMIT_CORE, 0),
    ):
        sandbox.limit(which, most)


if __name__ == "__main__":
    _limit(int(sys.argv[3]), int(sys.argv[4]))
    work(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
