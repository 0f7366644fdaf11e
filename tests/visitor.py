"""A person at the dashboard without a browser: speaks with the websocket and the upload endpoint as the page does."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

PATIENCE = 120.0
COOKIE = "_streamlit_xsrf"
_MEDIA = re.compile(rb"/media/([0-9a-f]{32,64})\.")


class _From(HTTPAdapter):
    """Comes from one address of this machine, and as browsers do tries again where a kept connection was closed."""

    def __init__(self, source: tuple[str, int] | None) -> None:
        self._source = source
        super().__init__(max_retries=1)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, source_address=self._source, **options)


class Visitor:
    """One session. Elements are those that the page shows after its last run, by their place."""

    def __init__(
        self,
        address: str,
        page: str = "",
        watch: Callable[[bytes], None] = lambda frame: None,
        source: str = "",
        cookies: Mapping[str, str] | None = None,
    ) -> None:
        """Open a page.

        Args:
            address: of the dashboard, "http://localhost:8501".
            page: its name in the URL, "" for Home.
            watch: called with every frame that arrives, as it arrived.
            source: the address of this machine to come from, any by default.
            cookies: that the browser has already.
        """
        self._address, self._page, self._watch = address, page, watch
        self._http = requests.Session()
        for name, value in (cookies or {}).items():
            self._http.cookies.set(name, value, domain="localhost.local", path="/")
        own = (source, 0) if source else None
        self._http.mount("http://", _From(own))
        self._http.get(f"{address}/_stcore/health", timeout=PATIENCE).raise_for_status()
        token = str(self._http.cookies[COOKIE])
        self._socket = connect(
            f"{address.replace('http', 'ws', 1)}/_stcore/stream",
            subprotocols=[Subprotocol("streamlit"), Subprotocol(token)],
            origin=Origin(address),
            additional_headers={"Cookie": "; ".join(f"{c.name}={c.value}" for c in self._http.cookies)},
            max_size=None,
            open_timeout=PATIENCE,
            legacy=True,  # gives the connection itself, not a context that opens it
            source_address=own,
        )
        self._token, self._fresh, self._parts = token, set[tuple[int, ...]](), dict[tuple[int, ...], str]()
        self.session = ""
        self.query = ""
        self._run_hash = ""
        self._clicks = 0
        self.elements: dict[tuple[int, ...], Element] = {}
        self.told: list[str] = []
        self.media: set[str] = set()
        self.redirect = ""
        self.again: dict[str, float] = {}
        self.run()

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave, as by closing the browser's tab."""
        self._socket.close()
        self._http.close()

    def run(self, **widget: Any) -> None:
        """Have the page run and wait until it has: with the state of one widget, if its `id` and value are given."""
        self.begin(**widget)
        self.finish()

    def begin(self, part: str = "", also: Sequence[dict[str, Any]] = (), **widget: Any) -> None:
        """Ask for a run of the page, or of the part of it that redraws alone, without waiting for it.

        Args:
            part: that redraws alone.
            also: states that a browser sends once more, as it does until the run that they began has ended.
            widget: the state of the widget that was used.
        """
        state = ClientState(query_string=self.query, page_script_hash=self._run_hash, fragment_id=part)
        if not self._run_hash:
            state.page_name = self._page
        for values in (*also, widget):
            if values:
                state.widget_states.widgets.add(**values)
        self._send(BackMsg(rerun_script=state))

    def settle(self, most: float = PATIENCE) -> None:
        """Have the parts that redraw themselves do so until none asks for it; with `most` 0, once.

        AssertionError if one still asks for it after `most` seconds: it would keep the server busy for ever.
        """
        end = time.monotonic() + most
        while self.again:
            time.sleep(min(self.again.values()))
            for part in list(self.again):
                state = ClientState(query_string=self.query, page_script_hash=self._run_hash)
                state.fragment_id, state.is_auto_rerun = part, True
                self._send(BackMsg(rerun_script=state))
                self.finish()
            if time.monotonic() > end:
                assert not (most and self.again), f"after {most:.0f} s the page still redraws itself"
                return

    def finish(self) -> None:
        """Take what arrives until the run has ended."""
        while True:
            message = self._receive()
            kind = message.WhichOneof("type")
            if kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return

    def places(self, names: Sequence[str]) -> Any:
        """Ask for places to upload files of these names to: each has file_id, upload_url and delete_url."""
        request = BackMsg()
        request.file_urls_request.request_id = "1"
        request.file_urls_request.session_id = self.session
        request.file_urls_request.file_names.extend(names)
        self._send(request)
        while (message := self._receive()).WhichOneof("type") != "file_urls_response":
            pass
        return message.file_urls_response.file_urls

    def click_download(self) -> str:
        """Click the first download that is made on a click; returns what its answer will name."""
        (file, *_) = [element.deferred_file_id for element in self._of("download_button") if element.deferred_file_id]
        self._clicks += 1
        asks = BackMsg()
        asks.backend_operation_request.request_id = f"click {self._clicks}"
        asks.backend_operation_request.session_id = self.session
        asks.backend_operation_request.deferred_file.file_id = file
        self._send(asks)
        return f"click {self._clicks}"

    def answers_to(self, clicks: Sequence[str]) -> list[tuple[str, str]]:
        """Return for each click the path of the file, or "" and why there is none."""
        found: dict[str, tuple[str, str]] = {}
        while not found.keys() >= set(clicks):
            message = self._receive()
            if message.WhichOneof("type") == "backend_operation_response":
                answer = message.backend_operation_response
                found[answer.request_id] = answer.deferred_file.url, answer.error_msg
        return [found[click] for click in clicks]

    def put(self, path: str, data: Any, **headers: str) -> requests.Response:
        """Send a body to a path of the server, with this browser's cookies and token."""
        sent = {"X-Xsrftoken": self._token, "Origin": self._address, **headers}
        files = {"files": data} if isinstance(data, tuple) else None
        body = None if files else data
        return self._http.put(self._address + path, data=body, files=files, headers=sent, timeout=PATIENCE)

    def cookie(self) -> str:
        """Return this browser's cookies and token as lines of a request's head."""
        cookies = "; ".join(f"{c.name}={c.value}" for c in self._http.cookies)
        return f"Cookie: {cookies}\r\nX-Xsrftoken: {self._token}\r\n"

    def browser(self) -> dict[str, str]:
        """Return the cookie that tells this browser from others."""
        return {COOKIE: str(self._http.cookies[COOKIE])}

    def send_raw(self, data: bytes) -> None:
        """Send bytes on the websocket's connection as they are."""
        self._socket.socket.sendall(data)

    def get(self, path: str) -> requests.Response:
        """Fetch a path of the server, with this browser's cookies."""
        return self._http.get(self._address + path, timeout=PATIENCE)

    def hand_over(self, files: dict[str, bytes]) -> dict[str, Any]:
        """Upload files for the page's uploader; returns its state, for `run` or `begin`."""
        uploader = self.find("file_uploader")
        places = self.places(list(files))
        state: dict[str, Any] = {"uploaded_file_info": []}
        for (name, data), urls in zip(files.items(), places, strict=True):
            self.put(urls.upload_url, (name, data)).raise_for_status()
            state["uploaded_file_info"].append(
                {"name": name, "size": len(data), "file_id": urls.file_id, "file_urls": urls}
            )
        return {"id": uploader.id, "file_uploader_state_value": state}

    def upload(self, files: dict[str, bytes]) -> None:
        """Upload files and wait for the answer."""
        self.run(**self.hand_over(files))

    def press(self, label: str) -> None:
        """Press a button and wait for the answer."""
        self.run(id=self.find("button", label=label).id, trigger_value=True)

    def choose(self, kind: str, label: str, **value: Any) -> None:
        """Set a widget, as a state of its kind, and wait for the part of the page that it redraws."""
        wanted = self.find(kind, label=label)
        place = next(p for p, element in self.elements.items() if getattr(element, kind) == wanted)
        self.run(part=self._parts[place], id=wanted.id, **value)

    def find(self, kind: str, **wanted: object) -> Any:
        """Return the first element of a kind whose fields are as wanted; LookupError if there is none."""
        for element in self._of(kind):
            if all(getattr(element, name) == value for name, value in wanted.items()):
                return element
        raise LookupError(f"The page shows no {kind} with {wanted}; it says:\n{self.text()}")

    def text(self) -> str:
        """Return what can be read on the page, a line an element."""
        kinds = ("heading", "markdown", "text", "alert")
        return "\n".join(str(element.body) for kind in kinds for element in self._of(kind))

    def answer(self) -> list[tuple[str, str]]:
        """Return all that the page shows of a case: words, charts with their pictures, names of picture files."""
        shown = []
        for _, element in sorted(self.elements.items()):
            kind = str(element.WhichOneof("type"))
            if kind in ("heading", "markdown", "text", "alert"):
                shown.append((kind, str(getattr(element, kind).body)))
            elif kind == "plotly_chart":
                shown.append((kind, element.plotly_chart.spec))
            elif kind == "imgs":
                shown.extend((kind, PurePosixPath(image.url).name) for image in element.imgs.imgs)
            elif kind == "dataframe":
                shown.append((kind, element.dataframe.arrow_data.data.hex()))
            elif kind == "exception":
                shown.append((kind, element.exception.message))
        return shown

    def _of(self, kind: str) -> list[Any]:
        return [getattr(e, kind) for _, e in sorted(self.elements.items()) if e.WhichOneof("type") == kind]

    def _send(self, message: BackMsg) -> None:
        self._socket.send(message.SerializeToString())

    def _receive(self) -> ForwardMsg:
        frame = self._socket.recv(PATIENCE)
        assert isinstance(frame, bytes)
        self._watch(frame)
        self.media.update(found.decode() for found in _MEDIA.findall(frame))
        message = ForwardMsg.FromString(frame)
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self.session = message.new_session.initialize.session_id or self.session
            self._run_hash = message.new_session.page_script_hash
            self._fresh = set()
            if not message.metadata.run.fragment_ids:  # the whole page: it says anew what redraws itself
                self.again = {}
        elif kind == "delta":
            place = tuple(message.metadata.delta_path)
            if message.delta.WhichOneof("type") == "new_element":
                self.elements[place] = message.delta.new_element
                self._parts[place] = message.delta.fragment_id
                if message.delta.new_element.WhichOneof("type") == "progress":
                    self.told.append(message.delta.new_element.progress.text)
            else:
                self.elements.pop(place, None)
            self._fresh.add(place)
        elif kind == "script_finished":
            if message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:  # what was not drawn again is gone
                self.elements = {place: e for place, e in self.elements.items() if place in self._fresh}
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "navigation":
            self._run_hash = message.navigation.page_script_hash
        elif kind == "auto_rerun":
            self.again[message.auto_rerun.fragment_id] = message.auto_rerun.interval
        elif kind == "stop_auto_rerun":
            for part in message.stop_auto_rerun.fragment_ids:
                self.again.pop(part, None)
        elif kind == "auth_redirect":
            self.redirect = message.auth_redirect.url
        return message
