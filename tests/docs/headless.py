"""A headless Chromium, driven by its DevTools protocol over two pipes."""

import base64
import itertools
import json
import os
import select
import shutil
import signal
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find():
  """Returns the path of a browser, or None."""
  found = [os.environ.get("BROWSER_PATH"), *map(shutil.which, NAMES)]
  return next((path for path in found if path), None)


class Browser:
  """One page of a browser, with what its console says.

  Attributes:
    complaints: errors and warnings of the console, exceptions, and requests
      that failed or went elsewhere than to files.
  """

  def __init__(self, profile, timeout=60.0):
    self.complaints = []
    self._timeout = timeout
    self._ids = itertools.count(1)
    self._buffer = b""
    read_end, self._write = os.pipe()
    self._read, write_end = os.pipe()
    flags = [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--disable-background-networking",
      "--no-first-run",
      "--remote-debugging-pipe",
      f"--user-data-dir={profile}",
      "about:blank",
    ]
    path = find()
    self._process = os.posix_spawn(
      path,
      [path, *flags],
      os.environ,
      file_actions=[
        (os.POSIX_SPAWN_DUP2, read_end, 3),
        (os.POSIX_SPAWN_DUP2, write_end, 4),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
      ],
      setpgroup=0,
    )
    os.close(read_end)
    os.close(write_end)
    targets = self._call("Target.getTargets")["targetInfos"]
    (page,) = [t["targetId"] for t in targets if t["type"] == "page"]
    self._session = self._call(
      "Target.attachToTarget", targetId=page, flatten=True
    )["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
      self.call(f"{domain}.enable")

  def close(self):
    """Ends the browser."""
    os.close(self._write)
    os.close(self._read)
    os.killpg(self._process, signal.SIGKILL)
    os.waitpid(self._process, 0)

  def call(self, method, **params):
    """Calls a method of the protocol on the page and returns its result."""
    return self._call(method, self._session, **params)

  def show(self, path, width=1280, height=900, dark=False):
    """Opens a file in a window of a size, with light or dark colors."""
    self.call(
      "Emulation.setDeviceMetricsOverride",
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 600,
    )
    scheme = {
      "name": "prefers-color-scheme",
      "value": "dark" if dark else "light",
    }
    self.call("Emulation.setEmulatedMedia", features=[scheme])
    self.call("Page.navigate", url=path.as_uri())
    self.wait("document.readyState === 'complete'")

  def evaluate(self, expression):
    """Returns what an expression of JavaScript gives, as JSON can hold it."""
    answer = self.call(
      "Runtime.evaluate",
      expression=expression,
      awaitPromise=True,
      returnByValue=True,
    )
    assert "exceptionDetails" not in answer, answer
    return answer["result"].get("value")

  def wait(self, expression):
    """Waits until an expression is true."""
    end = time.monotonic() + self._timeout
    while not self.evaluate(expression):
      assert time.monotonic() < end, f"still false: {expression}"
      time.sleep(0.05)

  def type(self, selector, text):
    """Clicks an element and types into it."""
    self.call("Emulation.setFocusEmulationEnabled", enabled=True)
    x, y = self.evaluate(
      f"(b => [b.x + b.width / 2, b.y + b.height / 2])"
      f"(document.querySelector({selector!r}).getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
      self.call(
        "Input.dispatchMouseEvent",
        type=kind,
        x=x,
        y=y,
        button="left",
        clickCount=1,
      )
    for letter in text:
      for kind in ("keyDown", "keyUp"):
        self.call("Input.dispatchKeyEvent", type=kind, text=letter, key=letter)

  def picture(self, path):
    """Writes what the window shows as a PNG."""
    data = self.call("Page.captureScreenshot", format="png")["data"]
    path.write_bytes(base64.b64decode(data))

  def _call(self, method, session=None, **params):
    number = next(self._ids)
    message = {"id": number, "method": method, "params": params}
    if session:
      message["sessionId"] = session
    os.write(self._write, json.dumps(message).encode() + b"\0")
    while True:
      answer = self._receive()
      if answer.get("id") == number:
        assert "error" not in answer, answer
        return answer["result"]
      self._note(answer)

  def _receive(self):
    end = time.monotonic() + self._timeout
    while b"\0" not in self._buffer:
      left = end - time.monotonic()
      assert left > 0, "the browser does not answer"
      if select.select([self._read], [], [], left)[0]:
        piece = os.read(self._read, 1 << 20)
        assert piece, "the browser has ended"
        self._buffer += piece
    message, _, self._buffer = self._buffer.partition(b"\0")
    return json.loads(message)

  def _note(self, event):
    params = event.get("params", {})
    match event.get("method"):
      case "Runtime.exceptionThrown":
        self.complaints.append(params["exceptionDetails"])
      case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning"):
        self.complaints.append(params["args"])
      case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
        self.complaints.append(params["entry"])
      case "Network.loadingFailed" if not params.get("canceled"):
        self.complaints.append(params)
      case "Network.requestWillBeSent":
        url = params["request"]["url"]
        if not url.startswith(("file:", "data:", "blob:", "about:")):
          self.complaints.append(url)
