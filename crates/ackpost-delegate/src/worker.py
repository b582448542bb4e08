# Delivers messages with an installed Apprise, each for one URL and in a thread of its own. It reads a JSON object from each line
# of standard input and answers with a JSON object of the same `id` on a line of standard output, in the order in which the
# deliveries end. It ends with its input, once every delivery has ended.
import contextvars
import json
import logging
import os
import re
import signal
import sys
import threading
from urllib.parse import quote


class Log(logging.Handler):
    """Keeps the log lines of each request; they are never printed. Apprise 2 delivers in threads of its own, which have the
    context of the request."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.request = contextvars.ContextVar("lines", default=None)

    @property
    def lines(self):
        lines = self.request.get()
        return [] if lines is None else lines

    def emit(self, record):
        try:
            if len(self.lines) < 500:
                self.lines.append((record.levelno, record.getMessage()[:2000]))
        except Exception:
            pass

    def loud(self):
        return [text for level, text in self.lines if level >= logging.WARNING]

    def quiet(self):
        return " ".join(text for level, text in self.lines if level < logging.WARNING)


def find_apprise():
    try:
        import apprise
    except ImportError:
        # Isolated mode leaves out the folder of this user's packages.
        import site
        sys.path.append(site.getusersitepackages())
        import apprise
    return apprise


def yaml_parser():
    try:
        from apprise.config.base import ConfigBase
    except ImportError:
        from apprise.config.ConfigBase import ConfigBase
    return ConfigBase.config_parse_yaml


def make_asset(apprise, order):
    settings = {"async_mode": False, "secure_logging": True}
    for name in ("app_id", "app_desc", "app_url"):
        if order.get(name):
            settings[name] = order[name]
    plugins = os.environ.get("APPRISE_PLUGIN_PATH")
    if plugins:
        settings["plugin_paths"] = [path for path in re.split(r"[;\r\n]+", plugins) if path]
    storage = os.environ.get("APPRISE_STORAGE_PATH")
    if storage:
        settings["storage_path"] = storage
    asset = apprise.AppriseAsset(**settings)
    if order.get("recursion"):
        asset._recursion = order["recursion"]
    return asset


def is_one_entry(text, url, keys):
    """True if the text has this one URL with these keys, and nothing else. A value may be any text, also one that ends the
    entry and begins another one."""
    import yaml
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return False
    if not isinstance(found, dict) or list(found) != ["urls"]:
        return False
    entries = found["urls"]
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        return False
    values = entries[0].get(url)
    return len(entries[0]) == 1 and isinstance(values, dict) and sorted(map(str, values)) == sorted(keys)


def load(apprise, order, asset):
    # Old versions take another service from the key `schema`; the newest ignore it.
    keys = [(key, value) for key, value in order.get("keys") or [] if key.strip().lower() != "schema"]
    if not keys:
        return apprise.Apprise.instantiate(order["url"], asset=asset, suppress_exceptions=True)
    pairs = ", ".join("? %s : %s" % (json.dumps(key, ensure_ascii=False), value) for key, value in keys)
    text = "urls:\n- ? %s\n  : {%s}\n" % (json.dumps(order["url"], ensure_ascii=False), pairs)
    if not is_one_entry(text, order["url"], [key for key, _ in keys]):
        logging.getLogger("apprise").warning("The keys of the entry are not valid YAML")
        return None
    services, _ = yaml_parser()(text, asset=asset)
    return services[0] if len(services) == 1 else None


# An exchange that was begun and not finished: the other side may have the message.
OPEN = re.compile(r"Read timed out|ReadTimeout|RemoteDisconnected|Connection aborted|IncompleteRead|reset by peer|Broken pipe", re.I)
CODE = re.compile(r"\berror=(\d{3})\b")
# The first URL loads the plugins.
LOADING = threading.Lock()


def attachment(file):
    return "file://%s?name=%s&mime=%s" % (
        quote(file["path"]), quote(file["name"], safe=""), quote(file["type"], safe=""))


def handle(apprise, order, log):
    log.request.set([])
    with LOADING:
        asset = make_asset(apprise, order)
        service = load(apprise, order, asset)
    answer = {"loaded": service is not None, "ok": False, "codes": [], "open": False, "service": ""}
    if service is None:
        answer["lines"] = log.loud()[:5]
        return answer
    answer["service"] = str(getattr(service, "service_name", "") or "")[:100]
    if order.get("probe"):
        answer["ok"] = True
        answer["lines"] = []
        return answer
    log.lines.clear()
    app = apprise.Apprise(asset=asset)
    app.add(service)
    title, body = order.get("title") or "", order.get("body") or ""
    if not body.strip() and title.strip():
        title, body = "", title
    files = [attachment(file) for file in order.get("files") or []]
    result = app.notify(
        body=body, title=title, notify_type=order["type"], body_format=order.get("format"),
        attach=files or None, interpret_escapes=False)
    answer["ok"] = bool(result)
    lines = log.loud()
    answer["lines"] = lines[-5:]
    if not answer["ok"]:
        answer["codes"] = [int(code) for code in CODE.findall(" ".join(lines))][:100]
        try:
            several = len(service) > 1
        except Exception:
            several = False
        # With several recipients some may have the message.
        answer["open"] = several or bool(OPEN.search(log.quiet() + " ".join(lines)))
    return answer


def main():
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    orders = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDWR)
    # Nothing that a plugin prints or reads gets between the two.
    for number in (0, 1, 2):
        os.dup2(nothing, number)

    def say(value):
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        apprise = find_apprise()
    except Exception as error:
        return say({"error": type(error).__name__})
    log = Log()
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(log)
    say({"version": str(getattr(apprise, "__version__", ""))})
    speaking = threading.Lock()
    running = 0

    def deliver(order):
        nonlocal running
        try:
            answer = handle(apprise, order, log)
        except Exception as error:
            answer = {"loaded": True, "ok": False, "codes": [], "open": True, "service": "",
                      "lines": ["the plugin failed with " + type(error).__name__]}
        answer["id"] = order["id"]
        try:
            import resource
            answer["kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        except Exception:
            answer["kib"] = 0
        with speaking:
            running -= 1
            if not running:
                signal.alarm(0)
            try:
                say(answer)
            except OSError:
                # Nobody waits for it any more.
                pass

    for line in iter(orders.readline, b""):
        order = json.loads(line.decode("utf-8"))
        with speaking:
            running += 1
            # A plugin that hangs does not outlive the program that started this one for long.
            signal.alarm(int(order["seconds"]))
        threading.Thread(target=deliver, args=(order,)).start()


main()
