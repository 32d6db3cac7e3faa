"""A model API on loopback for real coding agents in tests. The prompt says what the model does:

    do:think 30            answers after 30 silent seconds
    do:run sleep 20        has the agent run a shell command, then answers
    do:background sleep 20 the same in the background
    do:ask                 has the agent ask the person a question

Several, separated by commas, are done one after the other. Every request is noted in the file named by the second
argument. It must never be reachable from outside: it listens on 127.0.0.1.
"""

import http.server
import json
import re
import sys
import time

STEP = re.compile(r"do:(think|run|background|ask)\b ?([^,\n]*)")


def texts(message):
    content = message.get("content", "")
    if isinstance(content, str):
        return [content]
    return [part.get("text", "") for part in content if part.get("type") == "text"]


def plan(messages):
    """The steps of the last prompt that has any, and how many of its tools have answered already."""
    steps, done = [], 0
    for message in messages:
        if message.get("role") != "user":
            continue
        found = [step for text in texts(message) for step in STEP.findall(text)]
        if found:
            steps, done = found, 0
        content = message.get("content")
        if isinstance(content, list):
            done += sum(part.get("type") == "tool_result" for part in content)
    return steps, done


def answer(request):
    """Pauses as the model would, and says what it answers with: a tool's use or text."""
    steps, done = plan(request.get("messages", []))
    if not request.get("tools"):
        return {"type": "text", "text": "a title"}
    used = 0
    for kind, argument in steps:
        if kind == "think":
            if used == done:
                time.sleep(float(argument))
            continue
        used += 1
        if used <= done:
            continue
        if kind == "ask":
            options = [{"label": label, "description": label} for label in ("Yes", "No")]
            question = {"question": "Go on?", "header": "On", "options": options, "multiSelect": False}
            return {"type": "tool_use", "name": "AskUserQuestion", "input": {"questions": [question]}}
        command = {"command": argument.strip(), "description": "a step of the test"}
        if kind == "background":
            command["run_in_background"] = True
        return {"type": "tool_use", "name": "Bash", "input": command}
    return {"type": "text", "text": "all done"}


def events(request, block):
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request.get("model", "stub"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    yield {"type": "message_start", "message": message}
    if block["type"] == "text":
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        delta, stop = {"type": "text_delta", "text": block["text"]}, "end_turn"
    else:
        start = {"type": "tool_use", "id": "toolu_%d" % time.time_ns(), "name": block["name"], "input": {}}
        yield {"type": "content_block_start", "index": 0, "content_block": start}
        delta, stop = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}, "tool_use"
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self):
        self.reply("text/plain", b"")

    do_GET = do_HEAD

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.startswith("/v1/messages?") and self.path != "/v1/messages":
            return self.reply("application/json", b'{"input_tokens":1}')
        request = json.loads(body)
        block = answer(request)
        with open(sys.argv[2], "a") as notes:
            print(block["type"], block.get("name", ""), file=notes)
        stream = "".join("event: %s\ndata: %s\n\n" % (e["type"], json.dumps(e)) for e in events(request, block))
        return self.reply("text/event-stream", stream.encode())

    def log_message(self, *arguments):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # somebody looked whether HTTP is spoken here


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Model).serve_forever()
