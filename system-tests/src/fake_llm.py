"""A model API on loopback for real coding agents in tests. The prompt says what the model does:

    do:think 30            answers after 30 silent seconds
    do:stream 30           answers word by word for 30 seconds
    do:busy 30             is not there for 30 seconds and says so each time it is asked, then answers
    do:run sleep 20        has the agent run a shell command, then answers
    do:background sleep 20 the same in the background
    do:agent think 20      has the agent start a sub-agent, whose own prompt is do:think 20
    do:later think 20      the same in the background
    do:wake 90             has the agent set a time to go on by itself, at the next full minute after 90 seconds
    do:ask                 has the agent ask the person a question

Several, separated by commas, are done one after the other. It speaks as Anthropic (Messages), OpenAI (Responses and Chat
Completions) and Gemini do, as far as the agents need. What is asked ("asked") and answered ("said", and "finished" where
a turn ends with it), and whether the agent was told of holds, is noted in the file named by the second argument. Must
never be reachable from outside: it listens on 127.0.0.1.
"""

import hashlib
import http.server
import json
import math
import re
import sys
import time

STEP = re.compile(r"do:(think|stream|busy|run|background|agent|later|wake|ask)\b ?([^,\n\"]*)")
# How Codex says that a command goes on; it wants to be asked about it again.
RUNNING = re.compile(r"Process running with session ID (\d+)")
PAUSES = ("think", "stream", "busy")
# By what name an agent knows a tool that runs commands, and how it is called.
SHELLS = {
    "Bash": lambda command: {"command": command, "description": "a step of the test"},
    "bash": lambda command: {"command": command, "description": "a step of the test"},
    "run_shell_command": lambda command: {"command": command, "description": "a step of the test"},
    "exec_command": lambda command: {"cmd": command, "yield_time_ms": 600000},
    "shell_command": lambda command: {"command": command, "timeout_ms": 600000},
    "shell": lambda command: {"command": ["bash", "-lc", command], "timeout_ms": 600000},
}
since_busy = {}


def note(*words):
    with open(sys.argv[2], "a") as notes:
        print(*words, file=notes)


def part_texts(content):
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or [] if isinstance(part.get("text"), str)]


def messages(request):
    """What people said and how many tools answered, one after the other, whoever's words they are in."""
    for message in request.get("messages", []):
        content = message.get("content")
        if message.get("role") == "tool":
            yield [], 1
        elif message.get("role") == "user":
            results = [part for part in content if part.get("type") == "tool_result"] if isinstance(content, list) else []
            yield part_texts(content), len(results)
    items = request.get("input", [])
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
        if item.get("role") == "user":
            yield part_texts(item.get("content")), 0
        elif str(item.get("type", "")).endswith("_call_output"):
            yield [], 0 if RUNNING.search(str(item.get("output"))) else 1
    for content in request.get("contents", []):
        if content.get("role") == "user":
            parts = content.get("parts", [])
            yield part_texts(parts), sum("functionResponse" in part for part in parts)


def plan(request):
    """The steps of the last prompt that has any, and how many of its tools have answered already."""
    steps, done = [], 0
    for texts, results in messages(request):
        found = [step for text in texts for step in STEP.findall(text)]
        if found:
            steps, done = found, 0
        done += results
    return steps, done


def tools(request):
    for tool in request.get("tools") or []:
        for one in tool.get("functionDeclarations", [tool]):
            yield one.get("name") or one.get("function", {}).get("name") or one.get("type")


def use(kind, argument, request):
    """The tool by which the agent does a step."""
    if kind == "ask":
        options = [{"label": label, "description": label} for label in ("Yes", "No")]
        question = {"question": "Go on?", "header": "On", "options": options, "multiSelect": False}
        return "AskUserQuestion", {"questions": [question]}
    if kind == "wake":
        at = time.localtime(60 * math.ceil((time.time() + float(argument)) / 60))
        job = {"cron": time.strftime("%-M %-H %-d %-m *", at), "prompt": "do:think 1", "recurring": False}
        return "CronCreate", job
    names = list(tools(request))
    if kind in ("agent", "later"):
        task = {"description": "a step of the test", "prompt": "do:" + argument, "subagent_type": "general-purpose"}
        if kind == "later":
            task["run_in_background"] = True
        return next(name for name in ("Agent", "Task") if name in names), task
    name = next((name for name in SHELLS if name in names), "Bash")
    command = SHELLS[name](argument.strip())
    if kind == "background":
        command["run_in_background"] = True
    return name, command


def answer(request):
    """Pauses as the model would, and says what it answers with: words, a tool's use, or that it is busy."""
    # Whoever brings no tools wants a title for the session; Aider, whose model is called so, has none.
    if not list(tools(request)) and "aider" not in request.get("model", ""):
        return "words", ["a title"], 0
    note("asked")
    if "`ebb hold" in json.dumps(request):
        note("knows how to hold the machine")
    items = request.get("input") or [{}]
    goes_on = RUNNING.search(str(items[-1].get("output"))) if isinstance(items, list) else None
    if goes_on:
        return "tool", ("write_stdin", {"session_id": int(goes_on[1]), "chars": "", "yield_time_ms": 600000}), 0
    steps, done = plan(request)
    used = 0
    for kind, argument in steps:
        if kind in PAUSES:
            seconds = float(argument)
            if used != done:
                continue
            if kind == "think":
                time.sleep(seconds)
            elif kind == "stream":
                # Not the same words again and again: Gemini CLI stops what goes round in circles.
                words = (hashlib.sha256(b"%d" % number).hexdigest() for number in range(int(seconds * 2)))
                return "words", ["%s " % word[: 3 + number % 7] for number, word in enumerate(words)], 0.5
            elif time.time() - since_busy.setdefault(json.dumps(steps), time.time()) < seconds:
                return "busy", None, 0
            continue
        used += 1
        if used > done:
            return "tool", use(kind, argument, request), 0
    return "words", ["all done"], 0


def anthropic(request, kind, what, pause):
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
    if kind == "words":
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        for word in what:
            time.sleep(pause)
            yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        stop = "end_turn"
    else:
        start = {"type": "tool_use", "id": "toolu_%d" % time.time_ns(), "name": what[0], "input": {}}
        yield {"type": "content_block_start", "index": 0, "content_block": start}
        delta, stop = {"type": "input_json_delta", "partial_json": json.dumps(what[1])}, "tool_use"
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def responses(request, kind, what, pause):
    head = {"id": "resp_1", "object": "response", "model": request.get("model"), "output": []}
    yield {"type": "response.created", "response": {**head, "status": "in_progress"}}
    if kind == "words":
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
        yield {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}}
        for word in what:
            time.sleep(pause)
            place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
            yield {"type": "response.output_text.delta", **place, "delta": word}
        item["content"] = [{"type": "output_text", "text": "".join(what), "annotations": []}]
    else:
        call = "call_%d" % time.time_ns()
        item = {"id": "fc_1", "type": "function_call", "call_id": call, "name": what[0], "status": "completed"}
        item["arguments"] = json.dumps(what[1])
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    usage.update(input_tokens_details={"cached_tokens": 0}, output_tokens_details={"reasoning_tokens": 0})
    done = {**head, "status": "completed", "output": [item], "usage": usage}
    yield {"type": "response.completed", "response": done}


def chat(request, kind, what, pause):
    def chunk(delta, reason=None):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        head = {"id": "chat_1", "object": "chat.completion.chunk", "created": 1, "model": request.get("model")}
        return {**head, "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    if kind == "words":
        for word in what:
            time.sleep(pause)
            yield chunk({"content": word})
        yield chunk({}, "stop")
    else:
        function = {"name": what[0], "arguments": json.dumps(what[1])}
        call = {"index": 0, "id": "call_%d" % time.time_ns(), "type": "function", "function": function}
        yield chunk({"tool_calls": [call]})
        yield chunk({}, "tool_calls")
    yield None


def gemini(_, kind, what, pause):
    def chunk(parts, reason=None):
        candidate = {"index": 0, "content": {"role": "model", "parts": parts}}
        if reason:
            candidate["finishReason"] = reason
        usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "stub"}

    if kind == "words":
        for word in what[:-1]:
            time.sleep(pause)
            yield chunk([{"text": word}])
        yield chunk([{"text": what[-1]}], "STOP")
    else:
        yield chunk([{"functionCall": {"name": what[0], "args": what[1]}}], "STOP")


def whole(shape, events):
    """The same for one who does not want it in pieces."""
    text = "".join(part for event in events for part in spoken(shape, event))
    if shape is chat:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return {"id": "chat_1", "object": "chat.completion", "created": 1, "model": "stub", "choices": [choice], "usage": usage}
    if shape is gemini:
        content = {"role": "model", "parts": [{"text": text}]}
        return {"candidates": [{"index": 0, "content": content, "finishReason": "STOP"}]}
    return events[-1].get("response", {})


def spoken(shape, event):
    if shape is chat and event:
        yield event["choices"][0]["delta"].get("content", "")
    if shape is gemini:
        yield event["candidates"][0]["content"]["parts"][0].get("text", "")


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, kind, body, status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self):
        self.reply("text/plain", b"")

    def do_GET(self):
        self.reply("application/json", b'{"object":"list","data":[],"models":[]}')

    def shape(self):
        path = self.path.split("?")[0]
        if path.endswith("/messages"):
            return anthropic
        if path.endswith("/responses"):
            return responses
        if path.endswith("/chat/completions"):
            return chat
        return gemini if path.lower().endswith("generatecontent") else None

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        shape = self.shape()
        if shape is None:
            return self.reply("application/json", b'{"input_tokens":1,"totalTokens":1}')
        request = json.loads(body)
        kind, what, pause = answer(request)
        if kind == "busy":
            note("said it is busy")
            error = {"type": "error", "error": {"type": "api_error", "message": "try again", "code": 503}}
            return self.reply("application/json", json.dumps(error).encode(), 503)
        events = shape(request, kind, what, pause)
        if not request.get("stream") and "stream" not in self.path:
            self.reply("application/json", json.dumps(whole(shape, list(events))).encode())
            return note("said", what[0], "finished" if what != ["a title"] else "")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            name = "event: %s\n" % event["type"] if event and "type" in event else ""
            data = json.dumps(event) if event else "[DONE]"
            part = ("%sdata: %s\n\n" % (name, data)).encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        note("said", what[0], "finished" if kind == "words" and what != ["a title"] else "")

    def log_message(self, *arguments):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # somebody looked whether HTTP is spoken here, or did not wait for the answer


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Model).serve_forever()
