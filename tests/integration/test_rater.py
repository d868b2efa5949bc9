"""From a corpus to the answers of a rater: the command, and the example that asks a server."""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from affectkit.cli.main import main
from affectkit.methods.engagement import QUESTIONS, read_ratings
from affectkit.rehearse import rehearse

EXAMPLE = Path(__file__).parents[2] / "examples" / "ask_rater.py"


class Rater(BaseHTTPRequestHandler):
    """Answers every question by 0.5, one by 7, and counts the pictures."""

    seen: ClassVar = []

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = request["messages"][0]["content"]
        self.seen.append((request["model"], sum(part["type"] == "image_url" for part in content)))
        answers = {name: 0.5 for name in QUESTIONS if f'"{name}"' in content[0]["text"]} | {"yawns": 7}
        reply = {"choices": [{"message": {"content": f"Sure: {json.dumps(answers)}"}}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    def log_message(self, *args):
        """Nothing."""


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Rater) as own:
        Thread(target=own.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{own.server_port}/v1"
        own.shutdown()


def test_questions_go_out_and_answers_come_in(tmp_path, server, capsys):
    rehearse("engagenet", tmp_path / "c", pixels=16, openface=False)
    questions, ratings = tmp_path / "questions.csv", tmp_path / "ratings.csv"
    arguments = ["data", "questions", "engagenet", str(tmp_path / "c"), "--output", str(questions)]
    assert main([*arguments, "--option", "split=val"]) == 0
    assert "80 questions about 8 clips of EngageNet" in capsys.readouterr().out
    call = [sys.executable, str(EXAMPLE), str(questions), str(ratings)]
    for _ in range(2):  # the second time, nothing is left to ask
        subprocess.run([*call, "--server", server, "--model", "m", "--frames", "2"], check=True)
    assert Rater.seen == [("m", 2)] * 8
    found = read_ratings(ratings, 4)
    assert len(found.clips) == 8
    assert set(found.questions) == QUESTIONS.keys() - {"yawns"}
    assert (found.answers == 0.5).all()


def test_own_questions(tmp_path, capsys):
    rehearse("engagenet", tmp_path / "c", media=False, openface=False)
    own = tmp_path / "own.csv"
    own.write_text("question,text\nsmiles,Does the person smile?\n")
    arguments = ["data", "questions", "engagenet", str(tmp_path / "c"), "--output", str(tmp_path / "q.csv")]
    assert main([*arguments, "--questions", str(own)]) == 0
    assert "28 questions about 28 clips" in capsys.readouterr().out
    own.write_text("question\nsmiles\n")
    assert main([*arguments, "--questions", str(own)]) == 3
    assert "The column text is missing" in capsys.readouterr().err
